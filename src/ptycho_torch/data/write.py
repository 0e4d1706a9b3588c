"""Write a scan as the canonical NPZ of the field, so that `read_scan` gives it back."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_torch import __version__
from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.hold_out import interleaved_halves
from ptycho_torch.data.read import FORMAT, read_scan
from ptycho_torch.data.scan import Scan
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError


def convert_scan(
    source: str | Path,
    target: str | Path,
    reading: ScanConventions,
    *,
    overwrite: bool = False,
    halves: bool = False,
) -> list[str]:
    """Write a scan of any layout as canonical NPZ; return what there is to say.

    halves: write two halves of its frames, neighbours in turn, as `target` with `-a` and `-b` to
    its name.

    `InputError` if the source cannot be read, or the target does not end in .npz, is the source or
    is there already (and `overwrite` is not set); nothing is written then.
    """
    target = Path(target)
    if target.suffix != ".npz":
        raise InputError(f"{target}: ends in '{target.suffix}', expected .npz")
    written = [target.with_stem(f"{target.stem}-{half}") for half in "ab"] if halves else [target]
    for path in written:
        if path.exists() and path.samefile(source):
            raise InputError(f"{path}: is the file that is read; write another one")
        if os.path.lexists(path) and not (overwrite and path.is_file()):
            cure = ", or --overwrite to replace it" if path.is_file() else ""
            raise InputError(f"{path}: is there already; write another one{cure}")
    scan = read_scan(source, reading)
    parts = (
        [scan.take(half) for half in interleaved_halves(scan.positions_n2)] if halves else [scan]
    )
    for path, part in zip(written, parts, strict=True):
        write_scan_npz(path, part)
    notes = [f"  {note}" for note in scan.notes]
    done = [
        f"{path}: written, {len(part)} frames" for path, part in zip(written, parts, strict=True)
    ]
    return [f"{source}: {scan.summary()}", *notes, *done]


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
    scale, probe = scan.intensity_scale, scan.probe_MHW
    arrays: dict[str, Any] = {
        "diffraction": scan.amplitude_nHW,
        "xcoords": columns + half,
        "ycoords": rows + half,
        "scan_index": np.zeros(len(scan), np.int64),
        # A single mode without an axis of its own, as readers expect it.
        "probeGuess": probe if probe is None or len(probe) > 1 else probe[0],
        "objectGuess": scan.object_YX,
        "good_pixels": scan.good_1HW,
        "intensity_scale": None if scale is None else np.float64(scale),
        "_metadata": json.dumps(metadata),
    }
    io.write_npz(path, {key: value for key, value in arrays.items() if value is not None})
