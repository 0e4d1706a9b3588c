"""CXI 1.6: frames, translations and geometry of `/entry_1`, probe and object where they are.

(row, column) of the positions run along `translation` (y, x): by the standard `translation` moves
the sample and rows run along -y, columns along -x, so that the two signs cancel; cdtools and
ptychodus agree. `basis_vectors` that say otherwise are honoured. https://www.cxidb.org/cxi.html

Letters: n frames, N side of a frame.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.cxi_geometry import axes_of, geometry_of, object_pixel_of
from ptycho_torch.data.geometry import Geometry, check_far_field
from ptycho_torch.data.raw import Array, Raw, object_plane, probe_modes, real_frames
from ptycho_torch.files.hdf5 import Hdf5, open_hdf5
from ptycho_torch.runtime.errors import InputError

DETECTOR, SOURCE = "/entry_1/instrument_1/detector_1", "/entry_1/instrument_1/source_1"
TRANSLATION = "/entry_1/sample_1/geometry_1/translation"
EXTRAS = "/entry_1/ptycho_torch"
# Invalid, saturated, hot, dead, shadowed, to be ignored, bad, out of resolution, missing. Not:
# noisy, corrected for artefacts, or what only marks peaks and signal.
BAD_PIXEL = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200
_METRES = {"m": 1.0, "metre": 1.0, "meter": 1.0, "metres": 1.0, "meters": 1.0}
_METRES |= {"mm": 1e-3, "um": 1e-6, "micron": 1e-6, "microns": 1e-6, "µm": 1e-6, "nm": 1e-9}
# Farther than any scan reaches, in metres or pixels; squares of it are still numbers.
_FARTHEST = 1e12
_PIXELS = {"pixel", "pixels", "px"}


def read_cxi(source: str, reading: ScanConventions) -> Raw:
    """Return the scan of a CXI file.

    Raises
    ------
    InputError
        If it is no CXI of a ptychographic far field, or lacks what a scan needs; names the field.
    """
    with open_hdf5(source) as file:
        notes = _recognised(file)
        where, frames = _frames(file)
        positions, units = _positions(file, reading, notes)
        geometry, missing = geometry_of(file, DETECTOR, SOURCE, notes)
        _refuse_near_field(file, geometry, frames.shape[-1], positions, units)
        pixel = object_pixel_of(file, geometry, frames.shape[-1])
        probe, thing = _probe(file, frames.shape[-1], notes), _object(file, notes)
        return Raw(
            source=source,
            layout="cxi",
            frames_nHW=real_frames(source, where, frames),
            positions_n2=positions,
            certain=file.text(f"{EXTRAS}/program") == "ptycho-torch",
            probe_MHW=probe,
            object_YX=thing,
            good_nHW=_mask(file),
            intensity_scale=file.number(f"{EXTRAS}/intensity_scale"),
            values="intensity",
            zero_frequency="corner" if _is_shifted(file, where) else "centre",
            origin="middle",
            units=units,
            pixel_m=pixel,
            pixel_missing=missing,
            notes=tuple(notes),
        )


def _recognised(file: Hdf5) -> list[str]:
    if "entry_1" not in file.names():
        raise InputError(
            f"{file.source}: is HDF5 but no CXI file: has no '/entry_1'; it has: "
            f"{', '.join(file.names()[:8]) or 'nothing'}"
        )
    version = file.number("/cxi_version")
    known = "no cxi_version" if version is None else f"version {version / 100:.2f}"
    notes = [f"CXI, {known}"]
    if file.attribute(EXTRAS, "geometry") == "made up":
        notes.append("its geometry is made up; only the pixels are meant")
    return notes


def _frames(file: Hdf5) -> tuple[str, Array]:
    for where in (f"{DETECTOR}/data", "/entry_1/data_1/data"):
        frames = file.array(where)
        if frames is not None:
            if frames.ndim == 4 and frames.shape[1] == 1:
                frames = frames[:, 0]
            return where, frames
    raise InputError(
        f"{file.source}: has no frames: neither {DETECTOR}/data nor /entry_1/data_1/data"
    )


def _is_shifted(file: Hdf5, where: str) -> bool:
    shifted = file.attribute(where, "is_fft_shifted")
    return shifted is not None and not bool(shifted)


def _positions(
    file: Hdf5, reading: ScanConventions, notes: list[str]
) -> tuple[NDArray[np.float64], Any]:
    """Return positions (row, column), in metres or pixels, and which of them."""
    places = (TRANSLATION, f"{DETECTOR}/translation", "/entry_1/data_1/translation")
    where = next((place for place in places if file.array(place) is not None), None)
    if where is None:
        raise InputError(f"{file.source}: has no positions: no {TRANSLATION}")
    found = file.array(where)
    assert found is not None
    if found.dtype.kind not in "fiu" or found.ndim != 2 or not {2, 3} & set(found.shape):
        raise InputError(
            f"{file.source}: {where} is {found.shape} {found.dtype}, expected (n, 3) (x, y, z)"
        )
    if found.shape[1] not in (2, 3):
        notes.append(f"translation is {found.shape}, turned to {found.shape[::-1]}")
        found = found.T
    if not np.isfinite(found[:, :2]).all():
        first = int(np.flatnonzero(~np.isfinite(found[:, :2]).all(axis=1))[0])
        raise InputError(f"{file.source}: the translation of frame {first} is not finite")
    moved = np.zeros((len(found), 3))
    moved[:, : found.shape[1]] = found
    units, factor = _units(file, where, moved, reading, notes)
    # The probe moves on the sample against the sample's own translation.
    with np.errstate(over="ignore", invalid="ignore"):
        corners = -(moved * factor - _centre(file, units)) @ axes_of(file, DETECTOR, notes).T
    if not (np.abs(corners) < _FARTHEST).all():
        raise InputError(f"{file.source}: {where} leads to {np.abs(corners).max():.3g} {units}")
    return corners, units


def _units(
    file: Hdf5, where: str, moved: NDArray[np.float64], reading: ScanConventions, notes: list[str]
) -> tuple[str, float]:
    """Return `metres` or `pixels`, and what translations are multiplied by."""
    told = file.attribute(where, "units", "Units", "unit")
    if reading.units == "pixels":
        return "pixels", 1.0
    if told is not None:
        word = str(told).strip().lower()
        if word in _PIXELS:
            notes.append("translations are in pixels, as their attribute says")
            return "pixels", 1.0
        if word not in _METRES:
            raise InputError(
                f"{file.source}: {where} is in units '{told}', which are not known; expected m, "
                "mm, um, nm or pixels: give --units pixels, or mend the attribute"
            )
        return "metres", _METRES[word]
    if reading.units == "auto" and np.ptp(moved[:, :2], axis=0).max() >= 1:
        notes.append("translations span more than a metre: taken as pixels")
        return "pixels", 1.0
    return "metres", 1.0


def _centre(file: Hdf5, units: str) -> NDArray[np.float64]:
    """Return the object's middle (x, y, z) in metres, where ptychodus wrote it; else 0."""
    found = [file.number(f"/entry_1/ptychodus/object_center_{axis}_m") for axis in "xy"]
    return np.array([*(value or 0.0 for value in found), 0.0]) * (units == "metres")


def _refuse_near_field(
    file: Hdf5,
    geometry: Geometry | None,
    side_px: int,
    positions: NDArray[np.float64],
    units: str,
) -> None:
    if geometry is None:
        return
    step = None
    if units == "metres" and len(positions) > 1:
        from scipy.spatial import KDTree

        places = np.unique(positions, axis=0)
        if len(places) > 1:
            step = float(np.median(KDTree(places).query(places, k=2)[0][:, 1]))
    check_far_field(file.source, geometry, side_px, step)


def _mask(file: Hdf5) -> NDArray[np.bool_] | None:
    mask = file.array(f"{DETECTOR}/mask")
    if mask is None:
        return None
    if mask.dtype.kind == "f" and np.array_equal(mask, np.rint(mask)):
        mask = mask.astype(np.int64)
    if mask.dtype.kind not in "iu":
        raise InputError(
            f"{file.source}: {DETECTOR}/mask has type {mask.dtype}, expected whole numbers, whose "
            "bits say what is wrong with a pixel"
        )
    good: NDArray[np.bool_] = (mask & BAD_PIXEL) == 0
    return good.reshape((-1, *good.shape[-2:])) if good.ndim > 1 else good


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
