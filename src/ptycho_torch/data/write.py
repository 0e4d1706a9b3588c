"""Write a scan as canonical NPZ or as CXI 1.6, so that `read_scan` gives it back.

Letters: n frames, N side of a frame, M probe modes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch import __version__
from ptycho_torch.data.canonical import FORMAT
from ptycho_torch.data.cxi import DETECTOR, EXTRAS, SOURCE, TRANSLATION
from ptycho_torch.data.geometry import MADE_UP, PLANCK_TIMES_C, Geometry
from ptycho_torch.data.scan import Scan
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError

CXI_VERSION = 160
_IS_BAD = 0x80


def write_scan(path: str | Path, scan: Scan, geometry: Geometry | None = None) -> None:
    """Write a scan in the layout that the file's ending names: .npz, .cxi or .h5.

    Raises
    ------
    InputError
        If the ending is another one, or a geometry is given to NPZ, which has no place for it.
    """
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
    """Write the field's canonical NPZ, whole; layout in docs/files.md."""
    rows, columns = scan.positions_n2.T
    half = scan.patch_px // 2
    arrays: dict[str, Any] = {
        "diffraction": scan.amplitude_nHW,
        "xcoords": columns + half,
        "ycoords": rows + half,
        "scan_index": np.zeros(len(scan), np.int64),
    }
    if scan.probe_MHW is not None:
        # Readers of this layout expect one mode without an axis of its own.
        one = len(scan.probe_MHW) == 1
        arrays["probeGuess"] = scan.probe_MHW[0] if one else scan.probe_MHW
    if scan.object_YX is not None:
        arrays["objectGuess"] = scan.object_YX
    if scan.good_1HW is not None:
        arrays["good_pixels"] = scan.good_1HW
    if scan.intensity_scale is not None:
        arrays["intensity_scale"] = np.float64(scan.intensity_scale)
    arrays["_metadata"] = json.dumps(
        {
            "format": FORMAT,
            "ptycho_torch": __version__,
            "diffraction": "amplitude, zero frequency at [N // 2, N // 2]",
            "xcoords, ycoords": "column, row of the window's pixel [N // 2] in objectGuess, pixels",
        }
    )
    io.write_npz(path, arrays)


def write_scan_cxi(path: str | Path, scan: Scan, geometry: Geometry | None = None) -> None:
    """Write CXI 1.6, whole.

    Parameters
    ----------
    path
        File to write.
    scan
        What to write: counts if s is 1 and they are whole, else squared amplitudes as float32.
    geometry
        Of the experiment; None: `MADE_UP`, and the file says so.
    """
    from ptycho_torch.files.hdf5 import write_hdf5

    made_up, geometry = geometry is None, geometry or MADE_UP
    values = {
        "/cxi_version": CXI_VERSION,
        "/number_of_entries": 1,
        "/entry_1/title": Path(path).stem,
        **_instrument(geometry, scan),
        **_sample(geometry, scan),
        f"{EXTRAS}/program": "ptycho-torch",
        f"{EXTRAS}/version": __version__,
    }
    if scan.intensity_scale is not None:
        values[f"{EXTRAS}/intensity_scale"] = np.float64(scan.intensity_scale)
    links = {
        f"{DETECTOR}/translation": TRANSLATION,
        "/entry_1/data_1/data": f"{DETECTOR}/data",
        "/entry_1/data_1/translation": TRANSLATION,
    }
    if scan.probe_MHW is not None:
        links[f"{SOURCE}/illumination"] = "/entry_1/image_1/data"
    attributes: Mapping[str, Mapping[str, Any]] = {
        f"{DETECTOR}/data": {"axes": "translation:y:x", "is_fft_shifted": True},
        TRANSLATION: {"units": "m"},
        EXTRAS: {"geometry": "made up" if made_up else "given"},
    }
    write_hdf5(path, values, links=links, attributes=attributes)


def _instrument(geometry: Geometry, scan: Scan) -> dict[str, Any]:
    height, width = geometry.pixel_m
    side = scan.patch_px
    values: dict[str, Any] = {
        f"{SOURCE}/wavelength": geometry.wavelength_m,
        f"{SOURCE}/energy": PLANCK_TIMES_C / geometry.wavelength_m,
        f"{DETECTOR}/data": _intensities(scan),
        f"{DETECTOR}/distance": geometry.distance_m,
        f"{DETECTOR}/x_pixel_size": width,
        f"{DETECTOR}/y_pixel_size": height,
        f"{DETECTOR}/basis_vectors": np.array([[0, -height, 0], [-width, 0, 0]], np.float64),
        # The corner of the first pixel, the direct beam at the middle of pixel [N // 2].
        f"{DETECTOR}/corner_position": np.array(
            [(side // 2 + 0.5) * width, (side // 2 + 0.5) * height, geometry.distance_m]
        ),
    }
    if scan.good_1HW is not None:
        bad = np.where(scan.good_1HW, 0, _IS_BAD).astype(np.uint32)
        values[f"{DETECTOR}/mask"] = bad[0] if len(bad) == 1 else bad
    return values


def _sample(geometry: Geometry, scan: Scan) -> dict[str, Any]:
    pixel = np.array(geometry.object_pixel_m(scan.patch_px))
    middle = np.zeros(2)
    values: dict[str, Any] = {}
    if scan.object_YX is not None:
        # Metres count from the middle of the object to the middle of the window.
        middle = (np.array(scan.object_YX.shape) - scan.patch_px) / 2
        values |= _image(2, scan.object_YX)
    if scan.probe_MHW is not None:
        one = len(scan.probe_MHW) == 1
        values |= _image(1, scan.probe_MHW[0] if one else scan.probe_MHW)
    elif scan.object_YX is not None:
        raise InputError(
            f"{scan.source}: has an object and no probe, which CXI's images cannot say; write .npz"
        )
    translation = np.zeros((len(scan), 3))
    translation[:, 1::-1] = (scan.positions_n2 - middle) * pixel
    values[TRANSLATION] = translation
    return values


def _image(number: int, data: NDArray[Any]) -> dict[str, Any]:
    place = f"/entry_1/image_{number}"
    return {
        f"{place}/data": data,
        f"{place}/data_type": "electron density" if number == 2 else "amplitude",
        f"{place}/data_space": "real",
    }


def _intensities(scan: Scan) -> NDArray[Any]:
    squares = np.square(scan.amplitude_nHW, dtype=np.float64)
    counts = np.rint(squares)
    # float32 roots of counts square to counts within a part in ten million.
    whole = counts.max() < 2**31 - 1 and np.allclose(squares, counts, rtol=1e-6, atol=1e-6)
    if scan.intensity_scale == 1 and whole:
        return counts.astype(np.int32)
    return squares.astype(np.float32)
