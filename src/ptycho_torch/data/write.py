"""Write a scan as canonical NPZ or as CXI 1.6, so that `read_scan` gives it back.

Letters: n frames, N side of a frame, M probe modes.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch import __version__
from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.cxi import EXTRAS, TRANSLATION
from ptycho_torch.data.cxi_geometry import DETECTOR, SOURCE
from ptycho_torch.data.geometry import MADE_UP, PLANCK_TIMES_C, Geometry
from ptycho_torch.data.predict import WITHIN_NOISE, prediction_error
from ptycho_torch.data.read import FORMAT, read_scan
from ptycho_torch.data.scan import Scan
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError

CXI_VERSION = 160
_IS_BAD = 0x80
# Positions in metres are divided and multiplied by a pixel's side: rounding, in pixels.
_SAME_PX = 1e-6
# Amplitudes squared as float32 and rooted again.
_SAME_RELATIVE = 1e-6


def convert_scan(
    source: str | Path,
    target: str | Path,
    reading: ScanConventions,
    geometry: Geometry | None = None,
    *,
    overwrite: bool = False,
) -> list[str]:
    """Write a scan in the layout that the target's ending names; return what there is to say.

    `InputError` if the source cannot be read, the target names no layout, is the source or is there
    already (and `overwrite` is not set), or what was written is not what was read; no file is left
    then.
    """
    target = Path(target)
    if target.exists() and target.samefile(source):
        raise InputError(f"{target}: is the file that is read; write another one")
    if os.path.lexists(target) and not (overwrite and target.is_file()):
        cure = ", or --overwrite to replace it" if target.is_file() else ""
        raise InputError(f"{target}: is there already; write another one{cure}")
    scan = read_scan(source, reading)
    write_scan(target, scan, geometry)
    try:
        written = read_scan(target)
        apart = float(np.abs(scan.positions_n2 - written.positions_n2).max())
        change = np.abs(scan.amplitude_nHW - written.amplitude_nHW).max() / scan.amplitude_nHW.max()
        if apart > _SAME_PX or change > _SAME_RELATIVE:
            raise InputError(
                f"{target}: read back, positions differ by {apart:.3g} px and amplitudes by "
                f"{change:.3g}; was it written over meanwhile?"
            )
    except InputError:
        target.unlink(missing_ok=True)
        raise
    lines = [
        f"{source}: {scan.summary()}",
        *(f"  {note}" for note in scan.notes),
        f"{target}: written and read back, equal",
    ]
    if target.suffix != ".npz" and geometry is None:
        lines.append("  its geometry is made up, and marked so in /entry_1/ptycho_torch")
    return [*lines, f"  {_prediction(written)}"]


def _prediction(scan: Scan) -> str:
    if scan.probe_MHW is None or scan.object_YX is None:
        lacks = "object" if scan.object_YX is None else "probe"
        return f"without {lacks}, so there is nothing to predict its patterns with"
    error, noise = prediction_error(scan)
    against = "the photon noise is not known"
    if noise is not None:
        verdict = "within" if error <= WITHIN_NOISE * noise else "more than"
        against = f"{verdict} the photon noise of {noise:.4g}"
    return f"predicted patterns differ from the stored ones by {error:.4g} (relative); {against}"


def write_scan(path: str | Path, scan: Scan, geometry: Geometry | None = None) -> None:
    """Write a scan in the layout that the file's ending names: .npz, .cxi or .h5; `InputError` if
    it is another one, or a geometry is given to NPZ, which has no place for it."""
    ending = Path(path).suffix.lower()
    if ending == ".npz":
        if geometry is not None:
            raise InputError(f"{path}: the canonical NPZ has no place for a geometry; write .cxi")
        write_scan_npz(path, scan)
    elif ending in (".cxi", ".h5", ".hdf5"):
        write_scan_cxi(path, scan, geometry)
    else:
        raise InputError(f"{path}: ends in '{ending}', expected .npz or .cxi")


def write_scan_npz(path: str | Path, scan: Scan) -> None:
    """Write the field's canonical NPZ, whole; layout in docs/reference/files.md."""
    rows, columns = scan.positions_n2.T
    half = scan.patch_px // 2
    metadata = {
        "format": FORMAT,
        "ptycho_torch": __version__,
        "diffraction": "amplitude, zero frequency at [N // 2, N // 2]",
        "xcoords, ycoords": "column, row of the window's pixel [N // 2] in objectGuess, pixels",
    }
    scale = scan.intensity_scale
    arrays: dict[str, Any] = {
        "diffraction": scan.amplitude_nHW,
        "xcoords": columns + half,
        "ycoords": rows + half,
        "scan_index": np.zeros(len(scan), np.int64),
        "probeGuess": _one_or_modes(scan.probe_MHW),
        "objectGuess": scan.object_YX,
        "good_pixels": scan.good_1HW,
        "intensity_scale": None if scale is None else np.float64(scale),
        "_metadata": json.dumps(metadata),
    }
    io.write_npz(path, {key: value for key, value in arrays.items() if value is not None})


def write_scan_cxi(path: str | Path, scan: Scan, geometry: Geometry | None = None) -> None:
    """Write CXI 1.6, whole: counts if s is 1 and they are whole, else squared amplitudes as
    float32. Without a geometry it is `MADE_UP`, and the file says so."""
    from ptycho_torch.files.hdf5 import write_hdf5

    probe, thing, scale = _one_or_modes(scan.probe_MHW), scan.object_YX, scan.intensity_scale
    if probe is None and thing is not None:
        raise InputError(
            f"{scan.source}: has an object and no probe, which CXI's images cannot say; write .npz"
        )
    mark, geometry = "made up" if geometry is None else "given", geometry or MADE_UP
    bad = None if scan.good_1HW is None else np.where(scan.good_1HW, 0, _IS_BAD).astype(np.uint32)
    height, width = geometry.pixel_m
    # The corner of the first pixel, the direct beam at the middle of pixel [N // 2].
    corner = (scan.patch_px // 2 + 0.5) * np.array([width, height])
    values: dict[str, Any] = {
        "/cxi_version": CXI_VERSION,
        "/number_of_entries": 1,
        "/entry_1/title": Path(path).stem,
        f"{SOURCE}/wavelength": geometry.wavelength_m,
        f"{SOURCE}/energy": PLANCK_TIMES_C / geometry.wavelength_m,
        f"{DETECTOR}/distance": geometry.distance_m,
        f"{DETECTOR}/x_pixel_size": width,
        f"{DETECTOR}/y_pixel_size": height,
        f"{DETECTOR}/basis_vectors": np.array([[0, -height, 0], [-width, 0, 0]], np.float64),
        f"{DETECTOR}/corner_position": np.array([*corner, geometry.distance_m]),
        f"{DETECTOR}/data": _intensities(scan),
        f"{DETECTOR}/mask": _one_or_modes(bad),
        TRANSLATION: _translation(geometry, scan),
        f"{EXTRAS}/program": "ptycho-torch",
        f"{EXTRAS}/version": __version__,
        f"{EXTRAS}/intensity_scale": None if scale is None else np.float64(scale),
    }
    for name, kind, data in (("1", "amplitude", probe), ("2", "electron density", thing)):
        if data is not None:
            image = {"data": data, "data_type": kind, "data_space": "real"}
            values |= {f"/entry_1/image_{name}/{key}": value for key, value in image.items()}
    links = {
        f"{DETECTOR}/translation": TRANSLATION,
        "/entry_1/data_1/data": f"{DETECTOR}/data",
        "/entry_1/data_1/translation": TRANSLATION,
    }
    if probe is not None:
        links[f"{SOURCE}/illumination"] = "/entry_1/image_1/data"
    attributes: dict[str, dict[str, Any]] = {
        f"{DETECTOR}/data": {"axes": "translation:y:x", "is_fft_shifted": True},
        TRANSLATION: {"units": "m"},
        EXTRAS: {"geometry": mark},
    }
    present = {name: value for name, value in values.items() if value is not None}
    write_hdf5(path, present, links=links, attributes=attributes)


def _one_or_modes(array: NDArray[Any] | None) -> NDArray[Any] | None:
    """Return a single mode or mask without an axis of its own, as readers expect it."""
    return array if array is None or len(array) > 1 else array[0]


def _translation(geometry: Geometry, scan: Scan) -> NDArray[np.float64]:
    """Return (x, y, z) in metres, from the middle of the object to that of the window."""
    thing = scan.object_YX
    middle = 0 if thing is None else (np.array(thing.shape) - scan.patch_px) / 2
    translation = np.zeros((len(scan), 3))
    translation[:, 1::-1] = (scan.positions_n2 - middle) * geometry.object_pixel_m(scan.patch_px)
    return translation


def _intensities(scan: Scan) -> NDArray[Any]:
    squares = np.square(scan.amplitude_nHW, dtype=np.float64)
    counts = np.rint(squares)
    # float32 roots of counts square to counts within a part in ten million.
    whole = counts.max() < 2**31 - 1 and np.allclose(squares, counts, rtol=1e-6, atol=1e-6)
    if scan.intensity_scale == 1 and whole:
        return counts.astype(np.int32)
    return squares.astype(np.float32)
