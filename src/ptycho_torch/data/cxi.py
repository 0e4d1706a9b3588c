"""CXI 1.6: frames, translations and geometry of `/entry_1`, probe and object where they are.

(row, column) of the positions run along `translation` (y, x): by the standard `translation` moves
the sample and rows run along -y, columns along -x, so that the two signs cancel; cdtools and
ptychodus agree. `basis_vectors` that say otherwise are honoured. https://www.cxidb.org/cxi.html

Letters: n frames, N side of a frame.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.geometry import PLANCK_TIMES_C, Geometry, check_far_field
from ptycho_torch.data.scan import (
    Array,
    Raw,
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
_METRES = {
    **dict.fromkeys(("m", "metre", "meter", "metres", "meters"), 1.0),
    **dict.fromkeys(("um", "micron", "microns", "µm"), 1e-6),
    **{"mm": 1e-3, "nm": 1e-9},
}
_USUAL_AXES = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
_PIXELS = {"pixel", "pixels", "px"}
# More than any photon has; CXI is in joules, and people write electronvolts.
_MOST_ENERGY_J = 1e-9


def read_cxi(source: str, reading: ScanConventions) -> Raw:
    """Return the scan of a CXI file; raises as `read_scan`."""
    with open_hdf5(source) as file:
        if "entry_1" not in file.names():
            raise InputError(
                f"{source}: is HDF5 but no CXI file: has no '/entry_1'; it has: "
                f"{', '.join(file.names()[:8]) or 'nothing'}"
            )
        version = file.number("/cxi_version")
        notes = [f"CXI, {'no cxi_version' if version is None else f'version {version / 100:.2f}'}"]
        if file.attribute(EXTRAS, "geometry") == "made up":
            notes.append("its geometry is made up; only the pixels are meant")
        where, frames = _first(file, "frames", f"{DETECTOR}/data", "/entry_1/data_1/data")
        frames = frames[:, 0] if frames.ndim == 4 and frames.shape[1] == 1 else frames
        check_array(source, where, frames, "real", ("n", "N", "N"))
        side = frames.shape[-1]
        positions, units = _positions(file, reading, notes)
        geometry, missing = _geometry(file, notes)
        if geometry is not None:
            check_far_field(source, geometry, side, positions if units == "metres" else None)
        shifted = file.attribute(where, "is_fft_shifted")
        own = [file.number(f"/entry_1/ptychodus/object_pixel_{x}_m") for x in ("height", "width")]
        pixel = None if geometry is None else geometry.object_pixel_m(side)
        if own[0] and own[1]:
            pixel = own[0], own[1]
        return Raw(
            source=source,
            layout="cxi",
            frames_nHW=frames,
            positions_n2=positions,
            certain=file.text(f"{EXTRAS}/program") == "ptycho-torch",
            probe_MHW=_probe(file, side, notes),
            object_YX=_object(file, notes),
            good_nHW=_mask(file),
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
    unit = file.attribute(where, "units", "Units", "unit")
    word, note = str(unit).strip().lower(), ""
    in_pixels = reading.units == "pixels"
    if not in_pixels and unit is None:
        in_pixels = reading.units == "auto" and bool(np.ptp(moved[:, :2], axis=0).max() >= 1)
        note = "translations span more than a metre: taken as pixels"
    elif not in_pixels:
        in_pixels, note = word in _PIXELS, "translations are in pixels, as their attribute says"
        if not in_pixels and word not in _METRES:
            raise InputError(
                f"{file.source}: {where} is in units '{unit}', which are not known; expected m, "
                "mm, um, nm or pixels: give --units pixels, or mend the attribute"
            )
    if in_pixels:
        notes += [note] if note else []
    else:
        # ptychodus writes the object's middle (x, y), in metres.
        middle = [file.number(f"/entry_1/ptychodus/object_center_{x}_m") or 0.0 for x in "xy"]
        moved = moved * _METRES.get(word, 1.0) - [*middle, 0.0]
    # The probe moves on the sample against the sample's own translation.
    return -moved @ _axes(file, notes).T, "pixels" if in_pixels else "metres"


def _geometry(file: Hdf5, notes: list[str]) -> tuple[Geometry | None, str]:
    """Return wavelength, distance and pixels of the detector, or None and what is missing."""
    distance = file.number(f"{DETECTOR}/distance")
    corner, basis = file.array(f"{DETECTOR}/corner_position"), _basis(file)
    if distance is None and corner is not None and corner.size > 2:
        distance = float(corner.reshape(-1)[2])
    height, width = (file.number(f"{DETECTOR}/{axis}_pixel_size") for axis in "yx")
    if (height is None or width is None) and basis is not None:
        height, width = np.linalg.norm(basis, axis=1).tolist()
    wavelength, energy = file.number(f"{SOURCE}/wavelength"), file.number(f"{SOURCE}/energy")
    if wavelength is None and energy is not None:
        if not 0 < energy < _MOST_ENERGY_J:
            raise InputError(
                f"{file.source}: {SOURCE}/energy is {energy:g} J, which no photon has; CXI is in "
                "joules (1 eV = 1.602e-19 J): mend it, or add the wavelength"
            )
        notes.append("wavelength from the photon energy")
        wavelength = PLANCK_TIMES_C / energy
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
    if missing := [name for name, value in lengths.items() if value is None]:
        return None, f"the file has no {', no '.join(missing)}"
    wavelength, distance, height, width = (value or 0.0 for value in lengths.values())
    notes.append(
        f"geometry: wavelength {wavelength:.6g} m, distance {distance:.6g} m, detector pixel "
        f"{height:.6g} x {width:.6g} m"
    )
    return Geometry(wavelength_m=wavelength, distance_m=distance, pixel_m=(height, width)), ""


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
    where = f"{DETECTOR}/basis_vectors"
    found = file.array(where)
    if found is None:
        return None
    found = without_ones(found, 2)
    check_array(file.source, where, found, "real", (2, 3), (3, 2))
    return (found.T if found.shape == (3, 2) else found).astype(np.float64)


def _mask(file: Hdf5) -> NDArray[np.bool_] | None:
    where = f"{DETECTOR}/mask"
    mask = file.array(where)
    if mask is None:
        return None
    if mask.dtype.kind == "f" and np.array_equal(mask, np.rint(mask)):
        mask = mask.astype(np.int64)
    if mask.dtype.kind not in "iu" or mask.ndim < 2:
        raise InputError(
            f"{file.source}: {where} is {mask.shape} {mask.dtype}, expected whole numbers, whose "
            "bits say what is wrong with a pixel"
        )
    good: NDArray[np.bool_] = (mask & BAD_PIXEL) == 0
    return good.reshape((-1, *good.shape[-2:]))


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
