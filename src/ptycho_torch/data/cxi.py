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
from ptycho_torch.data.cxi_geometry import DETECTOR, SOURCE, axes_of, geometry_of
from ptycho_torch.data.geometry import LENGTHS, UNITS_M, Geometry, check_far_field, check_pixels
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

TRANSLATION = "/entry_1/sample_1/geometry_1/translation"
EXTRAS = "/entry_1/ptycho_torch"
# Invalid, saturated, hot, dead, shadowed, to be ignored, bad, out of resolution, missing. Not:
# noisy, corrected for artefacts, or what only marks peaks and signal.
BAD_PIXEL = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200
_PIXELS = {"pixel": 0.0, "px": 0.0}


def read_cxi(source: str, reading: ScanConventions) -> Raw:
    """Return the scan of a CXI file; raises as `read_scan`."""
    with open_hdf5(source) as file:
        if not any(name.startswith("entry_") for name in file.names()):
            raise InputError(
                f"{source}: is HDF5 but no CXI file: has no '/entry_1'; it has: "
                f"{', '.join(file.names()[:8]) or 'nothing'}"
            )
        version = file.text("/cxi_version")
        if version is None and (number := file.number("/cxi_version")) is not None:
            version = f"{number:g}"
        notes = [f"CXI, cxi_version {version or 'not given'}"]
        _choose(file, reading.scan_index, notes)
        if file.attribute(EXTRAS, "geometry") == "made up":
            notes.append("its geometry is made up; only the pixels are meant")
        where, frames = _first(file, "frames", f"{DETECTOR}/data", "/entry_1/data_1/data")
        positions, units, guessed = _positions(file, reading, notes)
        certain = file.text(f"{EXTRAS}/program") == "ptycho-torch"
        stack = "first" if certain and reading.stack == "auto" else reading.stack
        frames = frames_first(source, where, frames, len(positions), stack, notes)
        side = frames.shape[-1]
        geometry, missing = geometry_of(file, reading, notes)
        if geometry is not None:
            metres = positions * UNITS_M.get(reading.units, 1.0) if units == "metres" else None
            check_far_field(source, geometry, side, metres)
        shifted = file.attribute(where, "is_fft_shifted")
        probe, thing = _probe(file, side, notes), _object(file, notes)
        pixel = _object_pixel_m(file, geometry, side)
        given = pixel if reading.pixel_m is None else (reading.pixel_m, reading.pixel_m)
        if guessed and given is not None:
            check_pixels(source, positions, given, side)
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


def _object_pixel_m(
    file: Hdf5, geometry: Geometry | None, side_px: int
) -> tuple[float, float] | None:
    own = (f"/entry_1/ptychodus/object_pixel_{x}_m" for x in ("height", "width"))
    height, width = (file.number(path, LENGTHS) for path in own)
    if height and width:
        return height, width
    return None if geometry is None else geometry.object_pixel_m(side_px)


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
) -> tuple[NDArray[np.float64], Literal["metres", "pixels"], bool]:
    """Return positions (row, column), their unit, and whether that is guessed from their extent."""
    where, found = _first(
        file, "positions", TRANSLATION, f"{DETECTOR}/translation", "/entry_1/data_1/translation"
    )
    found = without_ones(found, 2)
    if found.ndim == 2 and found.shape[1] not in (2, 3):
        notes.append(f"translation is {found.shape}, turned to {found.shape[::-1]}")
        found = found.T
    check_array(file.source, where, found, "real", ("n", 3), ("n", 2))
    moved = np.zeros((len(found), 3))
    moved[:, : found.shape[1]] = found
    factor = file.factor(where, LENGTHS | _PIXELS) if reading.units == "auto" else None
    in_pixels = reading.units == "pixels" or factor == 0
    if reading.units != "auto" and (unit := file.unit(where)):
        notes.append(f"--units {reading.units} wins over the translations' attribute '{unit}'")
    if factor == 0:
        notes.append("translations are in pixels, as their attribute says")
    far = float(np.ptp(moved[:, :2], axis=0).max()) >= 1
    if guessed := reading.units == "auto" and factor is None and far:
        in_pixels = True
        notes.append("translations span more than a metre: taken as pixels")
    if not in_pixels:
        # ptychodus writes the object's middle (x, y), in metres.
        middle = [
            file.number(f"/entry_1/ptychodus/object_center_{x}_m", LENGTHS) or 0.0 for x in "xy"
        ]
        moved = moved * (factor or 1.0) - np.divide([*middle, 0.0], UNITS_M.get(reading.units, 1.0))
    # The probe moves on the sample against the sample's own translation.
    return -moved @ axes_of(file, notes).T, "pixels" if in_pixels else "metres", guessed


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
    if found is None or np.iscomplexobj(found):
        notes += [] if found is None else [f"object from {where}"]
        return object_plane(file.source, where, found)
    notes.append("image_2 is no object (complex); left out")
    return None
