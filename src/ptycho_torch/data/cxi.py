"""CXI 1.6: frames, translations and geometry of `/entry_1`, probe and object where they are.

(row, column) of the positions run along `translation` (y, x): by the standard `translation` moves
the sample and rows run along -y, columns along -x, so that the two signs cancel; cdtools and
ptychodus agree. `basis_vectors` that say otherwise are honoured. https://www.cxidb.org/cxi.html

Letters: n frames, N side of a frame.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import constants

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.geometry import ENERGIES, EV, LENGTHS
from ptycho_torch.data.light import frames_first
from ptycho_torch.data.scan import (
    ROLES,
    Array,
    Raw,
    by_role,
    check_array,
    complex_array,
    probe_modes,
    without_ones,
)
from ptycho_torch.files.hdf5 import Hdf5, open_hdf5
from ptycho_torch.runtime.errors import InputError

DETECTOR, SOURCE = "/entry_1/instrument_1/detector_1", "/entry_1/instrument_1/source_1"
TRANSLATION = "/entry_1/sample_1/geometry_1/translation"
# Invalid, saturated, hot, dead, shadowed, to be ignored, bad, out of resolution, missing. Not:
# noisy, corrected for artefacts, or what only marks peaks and signal.
BAD_PIXEL = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200
_PIXELS = {"pixel": 0.0, "px": 0.0}
_USUAL_AXES = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
# More than any photon has; CXI is in joules, and people write electronvolts.
_MOST_ENERGY_J = 1e-9
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
        notes = ["CXI"]
        _choose(file, reading.scan_index, notes)
        where, frames = _first(file, "frames", f"{DETECTOR}/data", "/entry_1/data_1/data")
        positions, units = _positions(file, reading, notes)
        frames = frames_first(source, where, frames, len(positions), reading.stack, notes)
        side = frames.shape[-1]
        pixel, missing = _object_pixel_m(file, reading, side, notes)
        shifted = file.attribute(where, "is_fft_shifted")
        return Raw(
            source=source,
            layout="cxi",
            frames_nHW=frames,
            positions_n2=positions,
            probe_MHW=_probe(file, side, notes),
            object_YX=_object(file, notes),
            **_stored_roles(file),
            mask=_mask(file),
            unused=tuple(f"{path} {shape}" for path, shape in file.unread().items()),
            values="intensity",
            zero_frequency="corner" if shifted is not None and not bool(shifted) else "centre",
            origin="middle",
            units=units,
            pixel_m=pixel,
            pixel_missing=missing,
            notes=tuple(notes),
        )


def _first(file: Hdf5, what: str, *places: str) -> tuple[str, Array]:
    for where in places:
        if (found := file.array(where)) is not None:
            return where, found
    raise InputError(f"{file.source}: has no {what}: neither {' nor '.join(places)}")


def _choose(file: Hdf5, index: int | None, notes: list[str]) -> None:
    """Choose the entry, and in it the detector or, where none holds data, the data group; the index
    is of the first of them of which there are several."""
    detector = DETECTOR.removeprefix("/entry_1")
    entries = file.numbers("/entry_1", f"{detector}/data", "/data_1/data")
    of_entry = len(entries) > 1 or entries == [index]
    said = [file.lead("/entry_1", entries, index if of_entry else None)] if entries else []
    for first in (DETECTOR, "/entry_1/data_1"):
        if numbers := file.numbers(first, "/data"):
            said.append(file.lead(first, numbers, None if of_entry else index))
            break
    said = [line for line in said if line]
    notes += [f"{line} (--scan-index)" for line in said[:1]] + said[1:]


def _positions(
    file: Hdf5, reading: ScanConventions, notes: list[str]
) -> tuple[NDArray[np.float64], Literal["metres", "pixels"]]:
    """Return positions (row, column) along the detector's axes, and their unit."""
    where, found = _first(
        file, "positions", TRANSLATION, f"{DETECTOR}/translation", "/entry_1/data_1/translation"
    )
    found = without_ones(found, 2)
    check_array(file.source, where, found, "real", ("n", 3), ("n", 2))
    moved = np.zeros((len(found), 3))
    moved[:, : found.shape[1]] = found
    units: Literal["metres", "pixels"] = "metres"
    if reading.units == "auto":
        factor = file.factor(where, LENGTHS | _PIXELS)
        if factor == 0:
            units = "pixels"
            notes.append("translations are in pixels, as their attribute says")
        moved *= factor or 1.0
    elif unit := file.unit(where):
        notes.append(f"--units {reading.units} wins over the translations' attribute '{unit}'")
    # The probe moves on the sample against the sample's own translation.
    return -moved @ _axes(file, notes).T, units


def _axes(file: Hdf5, notes: list[str]) -> NDArray[np.float64]:
    """Return unit vectors (x, y, z) of rows and columns of the detector, (2, 3)."""
    where = f"{DETECTOR}/basis_vectors"
    found = file.array(where)
    if found is None:
        return _USUAL_AXES
    found = without_ones(found, 2)
    check_array(file.source, where, found, "real", (2, 3), (3, 2))
    # cdtools writes them transposed.
    basis = (found.T if found.shape == (3, 2) else found).astype(np.float64)
    lengths = np.linalg.norm(basis, axis=1, keepdims=True)
    if not (lengths > 0).all() or not np.isfinite(basis).all():
        raise InputError(f"{file.source}: {where} is {basis.tolist()}: not two directions")
    axes: NDArray[np.float64] = basis / lengths
    if not np.allclose(axes, _USUAL_AXES, atol=1e-6):
        rows, columns = axes.round(6)
        notes.append(f"rows run along {rows}, columns along {columns} (x, y, z)")
    return axes


def _object_pixel_m(
    file: Hdf5, reading: ScanConventions, side_px: int, notes: list[str]
) -> tuple[tuple[float, float] | None, str]:
    """Return (height, width) of a pixel of the object plane, wavelength x distance / (N x detector
    pixel), metres; or None and what is missing for it."""
    lengths = {f"{SOURCE}/wavelength or energy": _wavelength(file, reading, notes)}
    for name in ("distance", "y_pixel_size", "x_pixel_size"):
        lengths[f"{DETECTOR}/{name}"] = file.number(f"{DETECTOR}/{name}", LENGTHS, notes)
    if missing := [name for name, value in lengths.items() if value is None]:
        return None, f"the file has no {', no '.join(missing)}"
    # CXI's z points downstream, so that some write the distance as negative.
    wavelength, distance, height, width = (abs(value or 0.0) for value in lengths.values())
    if zero := [name for name, value in lengths.items() if value == 0]:
        raise InputError(f"{file.source}: {zero[0]} is 0, expected a length > 0 in metres")
    notes.append(
        f"geometry: wavelength {wavelength:.6g} m, distance {distance:.6g} m, detector pixel "
        f"{height:.6g} x {width:.6g} m"
    )
    reach = wavelength * distance / side_px
    return (reach / height, reach / width), ""


def _wavelength(file: Hdf5, reading: ScanConventions, notes: list[str]) -> float | None:
    """Return the wavelength in metres, which the photon energy must agree with, or gives."""
    wavelength = file.number(f"{SOURCE}/wavelength", LENGTHS, notes)
    energy = file.number(f"{SOURCE}/energy", ENERGIES, notes)
    if energy is None:
        return wavelength
    where = file.where(SOURCE)
    if not 0 < energy < _MOST_ENERGY_J:
        if wavelength is None:
            raise InputError(
                f"{file.source}: {where}/energy is {energy:g} J, which no photon has; CXI is in "
                "joules (1 eV = 1.602e-19 J): mend it, give it the attribute units, or add the "
                "wavelength"
            )
        notes.append(f"energy of {energy:g} J, which no photon has, is not used")
        return wavelength
    told = constants.h * constants.c / energy
    if wavelength is None:
        notes.append("wavelength from the photon energy")
        return told
    if abs(told - wavelength) > _AGREE * wavelength and reading.pixel_m is None:
        raise InputError(
            f"{file.source}: {where}: the energy of {energy / EV:.6g} eV is a wavelength of "
            f"{told:.6g} m, and 'wavelength' is {wavelength:.6g} m; mend the one that is wrong, or "
            "give --pixel-m"
        )
    return wavelength


def _stored_roles(file: Hdf5) -> dict[str, Any]:
    """Return the first dark field and the first monitor of the chosen entry and detector."""
    entry, detector = file.where("/entry_1"), file.where(DETECTOR)
    paths: dict[str, str] = {}
    for path in file.unread():
        role = ROLES.get(path.rpartition("/")[2], "mask")
        of_another = "/detector_" in path and not path.startswith(f"{detector}/")
        if role != "mask" and path.startswith(f"{entry}/") and not of_another:
            paths.setdefault(role, path)
    found = {path: file.array(path) for path in paths.values()}
    return by_role({path: array for path, array in found.items() if array is not None})


def _mask(file: Hdf5) -> tuple[str, Array, Literal["auto", "good", "bad"]] | None:
    """Return the bits that call a pixel bad."""
    where = file.where(f"{DETECTOR}/mask")
    mask = file.array(where)
    if mask is None:
        return None
    if mask.dtype.kind not in "biu" and not np.array_equal(mask, np.rint(mask)):
        raise InputError(
            f"{file.source}: {where} is {mask.shape} {mask.dtype}, expected whole numbers, whose "
            "bits say what is wrong with a pixel"
        )
    return where, without_ones(mask.astype(np.int64) & BAD_PIXEL, 3), "bad"


def _probe(file: Hdf5, side_px: int, notes: list[str]) -> Array | None:
    image = "/entry_1/image_1/data"
    for where in (f"{SOURCE}/illumination", image, f"{SOURCE}/probe"):
        found = file.array(where)
        if found is None:
            continue
        if where != image or (np.iscomplexobj(found) and found.shape[-2:] == (side_px, side_px)):
            notes.append(f"probe from {where}")
            return probe_modes(file.source, where, found)
        notes.append("image_1 is no probe (complex, the frames' size); left out")
    return None


def _object(file: Hdf5, notes: list[str]) -> Array | None:
    where = "/entry_1/image_2/data"
    found = file.array(where)
    if found is not None and not np.iscomplexobj(found):
        notes.append("image_2 is no object (complex); left out")
        return None
    return complex_array(file.source, where, found, ("Y", "X"))
