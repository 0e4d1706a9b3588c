"""CXI 1.6: frames, translations and geometry of `/entry_1`, probe and object where they are.

(row, column) of the positions run along `translation` (y, x): by the standard `translation` moves
the sample and rows run along -y, columns along -x, so that the two signs cancel; cdtools and
ptychodus agree. `basis_vectors` that say otherwise are honoured. https://www.cxidb.org/cxi.html

Letters: n frames, N side of a frame.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.closing import UNITS_M
from ptycho_torch.data.geometry import EV, PLANCK_TIMES_C, Geometry, check_far_field
from ptycho_torch.data.light import frames_first
from ptycho_torch.data.scan import (
    ROLES,
    Array,
    Raw,
    by_role,
    check_array,
    object_plane,
    probe_modes,
    without_ones,
)
from ptycho_torch.files.hdf5 import Hdf5, open_hdf5
from ptycho_torch.runtime.errors import InputError

DETECTOR, SOURCE = "/entry_1/instrument_1/detector_1", "/entry_1/instrument_1/source_1"
TRANSLATION = "/entry_1/sample_1/geometry_1/translation"
EXTRAS = "/entry_1/ptycho_torch"
# Invalid, saturated, hot, dead, shadowed, to be ignored, bad, out of resolution, missing. Not:
# noisy, corrected for artefacts, or what only marks peaks and signal.
BAD_PIXEL = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200
# In metres and in joules, in lower case, whatever they are of.
_LENGTHS = {
    **dict.fromkeys(("m", "metre", "metres", "meter", "meters"), 1.0),
    **{"cm": 1e-2, "mm": 1e-3, "millimeter": 1e-3, "millimetre": 1e-3, "nm": 1e-9, "pm": 1e-12},
    **dict.fromkeys(("um", "\u00b5m", "micron", "microns", "micrometer", "micrometre"), 1e-6),
    **dict.fromkeys(("nanometer", "nanometre"), 1e-9),
    **dict.fromkeys(("angstrom", "angstroms", "\u00e5", "ang"), 1e-10),
}
_ENERGIES = {
    **dict.fromkeys(("j", "joule", "joules"), 1.0),
    **{"ev": EV, "kev": 1e3 * EV, "mev": 1e6 * EV},
}
_USUAL_AXES = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
_PIXELS = {"pixel": 0.0, "pixels": 0.0, "px": 0.0}
# More than any photon has; CXI is in joules, and people write electronvolts.
_MOST_ENERGY_J = 1e-9
# What lengths of an experiment can be, metres: a number beyond is in another unit.
_PLAUSIBLE = {"wavelength": (1e-13, 1e-3), "distance": (1e-6, 1e3), "pixel_size": (1e-8, 1e-2)}
# Wavelength and energy are rounded where they are written.
_AGREE = 0.01


def read_cxi(source: str, reading: ScanConventions) -> Raw:
    """Return the scan of a CXI file; raises as `read_scan`."""
    with open_hdf5(source) as file:
        if not any(name.startswith("entry_") for name in file.names()):
            raise InputError(
                f"{source}: is HDF5 but no CXI file: has no '/entry_1'; it has: "
                f"{', '.join(file.names()[:8]) or 'nothing'}"
            )
        version = file.number("/cxi_version")
        notes = [f"CXI, {'no cxi_version' if version is None else f'version {version / 100:.2f}'}"]
        parts = ("/entry_1", DETECTOR.removeprefix("/entry_1") + "/data"), (DETECTOR, "/data")
        notes += file.choose(reading.scan_index, *parts)
        if file.attribute(EXTRAS, "geometry") == "made up":
            notes.append("its geometry is made up; only the pixels are meant")
        where, frames = _first(file, "frames", f"{DETECTOR}/data", "/entry_1/data_1/data")
        positions, units = _positions(file, reading, notes)
        certain = file.text(f"{EXTRAS}/program") == "ptycho-torch"
        stack = "first" if certain else reading.stack
        frames = frames_first(source, where, frames, len(positions), stack, notes)
        side = frames.shape[-1]
        geometry, missing = _geometry(file, reading, notes)
        if geometry is not None:
            metres = positions * UNITS_M.get(reading.units, 1.0) if units == "metres" else None
            check_far_field(source, geometry, side, metres)
        shifted = file.attribute(where, "is_fft_shifted")
        probe, thing = _probe(file, side, notes), _object(file, notes)
        pixel = None if geometry is None else geometry.object_pixel_m(side)
        own = (f"/entry_1/ptychodus/object_pixel_{x}_m" for x in ("height", "width"))
        height, width = (file.number(path, _LENGTHS) for path in own)
        pixel = (height, width) if height and width else pixel
        return Raw(
            source=source,
            layout="cxi",
            frames_nHW=frames,
            positions_n2=positions,
            certain=certain,
            probe_MHW=probe,
            object_YX=thing,
            **_stored_roles(file),
            mask=_mask(file),
            unused=tuple(f"{path} {shape}" for path, shape in file.unread().items()),
            intensity_scale=file.number(f"{EXTRAS}/intensity_scale"),
            values="intensity",
            zero_frequency="corner" if shifted is not None and not bool(shifted) else "centre",
            origin="middle",
            units=units,
            pixel_m=pixel,
            pixel_missing=missing,
            notes=tuple(notes),
        )


def _first(file: Hdf5, what: str, *places: str) -> tuple[str, Array]:
    """Return the first of these places that the file has, and its array."""
    for where in places:
        if (found := file.array(where)) is not None:
            return where, found
    raise InputError(f"{file.source}: has no {what}: neither {' nor '.join(places)}")


def _positions(
    file: Hdf5, reading: ScanConventions, notes: list[str]
) -> tuple[NDArray[np.float64], Literal["metres", "pixels"]]:
    """Return positions (row, column), and their unit."""
    where, found = _first(
        file, "positions", TRANSLATION, f"{DETECTOR}/translation", "/entry_1/data_1/translation"
    )
    if found.ndim == 2 and found.shape[1] not in (2, 3):
        notes.append(f"translation is {found.shape}, turned to {found.shape[::-1]}")
        found = found.T
    check_array(file.source, where, found, "real", ("n", 3), ("n", 2))
    moved = np.zeros((len(found), 3))
    moved[:, : found.shape[1]] = found
    factor = file.factor(where, _LENGTHS | _PIXELS) if reading.units == "auto" else None
    in_pixels = reading.units == "pixels" or factor == 0
    if factor == 0:
        notes.append("translations are in pixels, as their attribute says")
    elif reading.units == "auto" and factor is None and np.ptp(moved[:, :2], axis=0).max() >= 1:
        in_pixels = True
        notes.append("translations span more than a metre: taken as pixels")
    if not in_pixels:
        # ptychodus writes the object's middle (x, y), in metres.
        middle = [
            file.number(f"/entry_1/ptychodus/object_center_{x}_m", _LENGTHS) or 0.0 for x in "xy"
        ]
        moved = moved * (factor or 1.0) - np.divide([*middle, 0.0], UNITS_M.get(reading.units, 1.0))
    # The probe moves on the sample against the sample's own translation.
    return -moved @ _axes(file, notes).T, "pixels" if in_pixels else "metres"


def _geometry(
    file: Hdf5, reading: ScanConventions, notes: list[str]
) -> tuple[Geometry | None, str]:
    """Return wavelength, distance and pixels of the detector, or None and what is missing."""
    distance = file.number(f"{DETECTOR}/distance", _LENGTHS, notes)
    corner, basis = _vector(file, "corner_position"), _basis(file)
    if distance is None and corner is not None and corner.size > 2:
        distance = float(corner.reshape(-1)[2])
    height, width = (file.number(f"{DETECTOR}/{axis}_pixel_size", _LENGTHS, notes) for axis in "yx")
    if (height is None or width is None) and basis is not None:
        height, width = np.linalg.norm(basis, axis=1).tolist()
    wavelength = _wavelength(file, reading, notes)
    lengths = {
        f"{SOURCE}/wavelength or energy": wavelength,
        # CXI's z points downstream, so that some write the distance as negative.
        f"{DETECTOR}/distance": None if distance is None else abs(distance),
        f"{DETECTOR}/y_pixel_size": height,
        f"{DETECTOR}/x_pixel_size": width,
    }
    for name, value in lengths.items():
        if value is not None and not 0 < value < np.inf:
            raise InputError(f"{file.source}: {name} is {value:g}, expected a length > 0 in metres")
        low, high = next(span for key, span in _PLAUSIBLE.items() if key in name)
        if value is not None and not low <= value <= high and reading.pixel_m is None:
            raise InputError(
                f"{file.source}: {name} is {value:g} m, which no such experiment has; is it in "
                "another unit? give it the attribute 'units', or give --pixel-m"
            )
    if missing := [name for name, value in lengths.items() if value is None]:
        return None, f"the file has no {', no '.join(missing)}"
    wavelength, distance, height, width = (value or 0.0 for value in lengths.values())
    notes.append(
        f"geometry: wavelength {wavelength:.6g} m, distance {distance:.6g} m, detector pixel "
        f"{height:.6g} x {width:.6g} m"
    )
    return Geometry(wavelength_m=wavelength, distance_m=distance, pixel_m=(height, width)), ""


def _wavelength(file: Hdf5, reading: ScanConventions, notes: list[str]) -> float | None:
    """Return the wavelength in metres, which the photon energy must agree with, or gives."""
    wavelength = file.number(f"{SOURCE}/wavelength", _LENGTHS, notes)
    energy = file.number(f"{SOURCE}/energy", _ENERGIES, notes)
    if energy is not None and not 0 < energy < _MOST_ENERGY_J:
        if wavelength is None:
            raise InputError(
                f"{file.source}: {file.where(SOURCE)}/energy is {energy:g} J, which no photon has; "
                "CXI is in joules (1 eV = 1.602e-19 J): mend it, give it the attribute units, or "
                "add the wavelength"
            )
        notes.append(f"energy of {energy:g} J, which no photon has, is not used")
        energy = None
    if energy is not None:
        told = PLANCK_TIMES_C / energy
        if wavelength is None:
            notes.append("wavelength from the photon energy")
            return told
        if abs(told / wavelength - 1) > _AGREE and reading.pixel_m is None:
            raise InputError(
                f"{file.source}: {file.where(SOURCE)}: the energy of {energy / EV:.6g} eV is a "
                f"wavelength of {told:.6g} m, and 'wavelength' is {wavelength:.6g} m; mend the one "
                "that is wrong, or give --pixel-m"
            )
    return wavelength


def _axes(file: Hdf5, notes: list[str]) -> NDArray[np.float64]:
    """Return unit vectors (x, y, z) of rows and columns of the detector, (2, 3)."""
    basis = _basis(file)
    if basis is None:
        return _USUAL_AXES
    lengths = np.linalg.norm(basis, axis=1, keepdims=True)
    if not (lengths > 0).all() or not np.isfinite(basis).all():
        raise InputError(
            f"{file.source}: {DETECTOR}/basis_vectors is {basis.tolist()}: not two directions"
        )
    axes: NDArray[np.float64] = basis / lengths
    if not np.allclose(axes, _USUAL_AXES, atol=1e-6):
        rows, columns = axes.round(6)
        notes.append(f"rows run along {rows}, columns along {columns} (x, y, z)")
    return axes


def _basis(file: Hdf5) -> NDArray[np.float64] | None:
    """Return the basis vectors as (2, 3); cdtools writes them transposed."""
    where, found = f"{DETECTOR}/basis_vectors", _vector(file, "basis_vectors")
    if found is None:
        return None
    found = without_ones(found, 2)
    check_array(file.source, where, found, "real", (2, 3), (3, 2))
    return (found.T if found.shape == (3, 2) else found).astype(np.float64)


def _vector(file: Hdf5, name: str) -> NDArray[np.float64] | None:
    """Return one of the detector's arrays of lengths in metres."""
    found, factor = file.array(f"{DETECTOR}/{name}"), file.factor(f"{DETECTOR}/{name}", _LENGTHS)
    return None if found is None else found.astype(np.float64) * (factor or 1.0)


def _stored_roles(file: Hdf5) -> dict[str, Any]:
    """Return the dark field and the monitor of the chosen entry, by their names."""
    entry = file.where("/entry_1")
    names = [
        path for path in file.unread()
        if path.startswith(f"{entry}/") and ROLES.get(path.rpartition("/")[2], "mask") != "mask"
    ]  # fmt: skip
    return by_role({name: array for name in names if (array := file.array(name)) is not None})


def _mask(file: Hdf5) -> tuple[str, Array, Literal["auto", "good", "bad"]] | None:
    """Return the bits that call a pixel bad."""
    where = f"{DETECTOR}/mask"
    mask = file.array(where)
    if mask is None:
        return None
    whole = mask.dtype.kind in "biu" or np.array_equal(mask, np.rint(mask))
    if not whole or mask.ndim < 2:
        raise InputError(
            f"{file.source}: {file.where(where)} is {mask.shape} {mask.dtype}, expected whole "
            "numbers, whose bits say what is wrong with a pixel"
        )
    return file.where(where), without_ones(mask.astype(np.int64) & BAD_PIXEL, 3), "bad"


def _probe(file: Hdf5, side_px: int, notes: list[str]) -> Array | None:
    for where in (f"{SOURCE}/illumination", "/entry_1/image_1/data", f"{SOURCE}/probe"):
        found = file.array(where)
        if found is None:
            continue
        if where.endswith("image_1/data") and (
            found.dtype.kind != "c" or found.shape[-2:] != (side_px, side_px)
        ):
            notes.append("image_1 is no probe (complex, the frames' size); left out")
            continue
        notes.append(f"probe from {where}")
        return probe_modes(file.source, where, found)
    return None


def _object(file: Hdf5, notes: list[str]) -> Array | None:
    where = "/entry_1/image_2/data"
    found = file.array(where)
    if found is None:
        return None
    if found.dtype.kind != "c":
        notes.append("image_2 is no object (complex); left out")
        return None
    notes.append(f"object from {where}")
    return object_plane(file.source, where, found)
