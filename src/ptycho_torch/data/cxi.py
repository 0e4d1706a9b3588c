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
from ptycho_torch.data.prepare import frames_first
from ptycho_torch.data.scan import (
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
EV = constants.eV
_METRE = {"": 1.0, "centi": 1e-2, "milli": 1e-3, "micro": 1e-6, "nano": 1e-9, "pico": 1e-12}
LENGTHS = {
    **{"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "\u00b5m": 1e-6, "nm": 1e-9, "pm": 1e-12},
    **{prefix + word: value for prefix, value in _METRE.items() for word in ("metre", "meter")},
    **{"micron": 1e-6, **dict.fromkeys(("angstrom", "angstroem", "ang", "a", "\u00e5"), 1e-10)},
}
"""What a file may call a length's unit, in metres; in lower case, one of it."""
ENERGIES = {"j": 1.0, "joule": 1.0, "ev": EV, "electronvolt": EV, "kev": 1e3 * EV}
"""The same of an energy, in joules."""
# Invalid, saturated, hot, dead, shadowed, to be ignored, bad, out of resolution, missing. Not:
# noisy, corrected for artefacts, or what only marks peaks and signal.
BAD_PIXEL = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200
_USUAL_AXES = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
# Wavelength and energy are rounded where they are written; no photon has more joules than this.
_AGREE, _MOST_J = 0.01, 1e-12


def read_cxi(source: str, reading: ScanConventions) -> Raw:
    """Return the scan of a CXI file; raises as `read_scan`."""
    with open_hdf5(source) as file:
        notes = [
            "CXI: (row, column) along translation (y, x); along its opposite (--flip-rows "
            "--flip-columns) the frames fit as well, with the twin image"
        ]
        _choose(file, reading.scan_index, notes)
        where, frames = _first(file, "frames", f"{DETECTOR}/data", "/entry_1/data_1/data")
        positions = _positions(file, reading, notes)
        frames = frames_first(source, where, frames, len(positions), reading.stack, notes)
        side = frames.shape[-1]
        given = reading.pixel_m or reading.units == "pixels"
        # All that is read comes before what was not.
        pixel = None if given else _object_pixel_m(file, side, notes)
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
            origin="middle",
            units="metres",
            pixel_m=pixel,
            notes=notes,
        )


def _first(file: Hdf5, what: str, *places: str) -> tuple[str, Array]:
    for where in places:
        if (found := file.array(where)) is not None:
            return where, found
    raise InputError(
        f"{file.source}: is no CXI file with {what}: has neither {' nor '.join(places)}; it has: "
        f"{', '.join(file.names()[:8]) or 'nothing'}"
    )


def _choose(file: Hdf5, index: int | None, notes: list[str]) -> None:
    """Choose entry and detector; the index is of the first of them of which there are several."""
    in_entry = (f"{DETECTOR.removeprefix('/entry_1')}/data", "/data_1/data")
    entries = file.numbers("/entry_1", *in_entry)
    if not entries:
        return
    of_entry = len(entries) > 1 or entries == [index]
    if line := file.lead("/entry_1", entries, index if of_entry else None):
        notes.append(f"{line} (--scan-index)")
    detectors = file.numbers(DETECTOR, "/data")
    if detectors and (line := file.lead(DETECTOR, detectors, None if of_entry else index)):
        notes.append(line if len(entries) > 1 else f"{line} (--scan-index)")


def _positions(file: Hdf5, reading: ScanConventions, notes: list[str]) -> NDArray[np.float64]:
    """Return positions (row, column) along the detector's axes, in metres unless `reading` says."""
    where, found = _first(
        file, "positions", TRANSLATION, f"{DETECTOR}/translation", "/entry_1/data_1/translation"
    )
    found = without_ones(found, 2)
    check_array(file.source, where, found, "real", ("n", 3), ("n", 2))
    moved = np.zeros((len(found), 3))
    moved[:, : found.shape[1]] = found
    if reading.units == "auto":
        moved *= file.factor(where, LENGTHS) or 1.0
    # The probe moves on the sample against the sample's own translation.
    return -moved @ _axes(file, notes).T


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


def _object_pixel_m(file: Hdf5, side_px: int, notes: list[str]) -> tuple[float, float]:
    """Return (height, width) of a pixel of the object plane, metres: L z / (N x detector pixel)."""
    lengths = {f"{SOURCE}/wavelength or energy": _wavelength(file, notes)}
    for name in ("distance", "y_pixel_size", "x_pixel_size"):
        lengths[f"{DETECTOR}/{name}"] = file.number(f"{DETECTOR}/{name}", LENGTHS, notes)
    if missing := [name for name, value in lengths.items() if not value]:
        raise InputError(
            f"{file.source}: positions cannot be converted to pixels: the file has no "
            f"{', no '.join(missing)}, or it is 0; give --pixel-m, the side of a pixel of the "
            "object plane, or --units pixels"
        )
    # CXI's z points downstream, so that some write the distance as negative.
    wavelength, distance, height, width = (abs(value or 0.0) for value in lengths.values())
    reach = wavelength * distance / side_px
    return reach / height, reach / width


def _wavelength(file: Hdf5, notes: list[str]) -> float | None:
    """Return the wavelength in metres, which the photon energy must agree with, or gives."""
    wavelength = file.number(f"{SOURCE}/wavelength", LENGTHS, notes)
    energy = file.number(f"{SOURCE}/energy", ENERGIES, notes)
    if not energy:
        return wavelength
    told, against = constants.h * constants.c / energy, ""
    if wavelength is None:
        notes.append("wavelength from the photon energy")
        against = "so it cannot be joules" if not 0 < energy < _MOST_J else ""
    elif abs(told - wavelength) > _AGREE * wavelength:
        against = f"and 'wavelength' is {wavelength:.6g} m"
    if against:
        raise InputError(
            f"{file.source}: {file.where(SOURCE)}: the energy of {energy:.6g} J is a wavelength of "
            f"{told:.6g} m, {against}; CXI is in joules (1 eV = 1.602e-19 J): mend what is wrong, "
            "give it the attribute 'units', or give --pixel-m"
        )
    return wavelength or told


def _stored_roles(file: Hdf5) -> dict[str, Any]:
    """Return the first dark field and the first monitor of the chosen entry and detector."""
    entry, detector = file.where("/entry_1"), file.where(DETECTOR)
    paths = {
        path: path
        for path in file.unread()
        if path.startswith(f"{entry}/")
        and ("/detector_" not in path or path.startswith(f"{detector}/"))
    }
    roles = by_role(paths)
    return {role: (roles[role][0], file.array(roles[role][0])) for role in roles.keys() - {"mask"}}


def _mask(file: Hdf5) -> tuple[str, Array, Literal["bad"]] | None:
    """Return the bits that call a pixel bad."""
    where = file.where(f"{DETECTOR}/mask")
    mask = file.array(where)
    if mask is None:
        return None
    return where, without_ones(mask.astype(np.int64) & BAD_PIXEL, 3), "bad"


def _probe(file: Hdf5, side_px: int, notes: list[str]) -> Array | None:
    where = f"{SOURCE}/illumination"
    found = file.array(where)
    if found is None:
        where = "/entry_1/image_1/data"
        found = file.array(where)
        if found is not None and not (np.iscomplexobj(found) and found.shape[-1] == side_px):
            notes.append("image_1 is no probe (complex, the frames' size); left out")
            return None
    return probe_modes(file.source, where, found)


def _object(file: Hdf5, notes: list[str]) -> Array | None:
    where = "/entry_1/image_2/data"
    found = file.array(where)
    if found is not None and not np.iscomplexobj(found):
        notes.append("image_2 is no object (complex); left out")
        return None
    return complex_array(file.source, where, found, ("Y", "X"))
