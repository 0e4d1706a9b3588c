"""Write a scan, or parts of it, as the field's canonical NPZ, so that `read_scan` gives it back."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_torch import __version__
from ptycho_torch.config.scan import RegionSettings, ScanConventions
from ptycho_torch.data.hold_out import half_light_radius_px, hold_out_region, interleaved_halves
from ptycho_torch.data.read import FORMAT, read_scan
from ptycho_torch.data.scan import Scan
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError

PARTS = ("train", "half_a", "half_b", "held_out")
"""Of one measured scan: frames to learn from, two halves of them, frames held out."""


def convert_scan(
    source: str | Path,
    target: str | Path,
    reading: ScanConventions,
    *,
    overwrite: bool = False,
    halves: bool = False,
) -> list[str]:
    """Write a scan of any layout as canonical NPZ; return what was read and written, a line each.

    halves: write two halves of its frames, neighbours in turn, with `-a` and `-b` to the name.

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
            raise InputError(f"{path}: is there already; write another one, or --overwrite a file")
    scan = read_scan(source, reading)
    lines = [f"{source}: {scan.summary()}"]
    parts: Sequence[Any] = interleaved_halves(scan.positions_n2) if halves else [slice(None)]
    for path, frames in zip(written, parts, strict=True):
        part = scan.take(frames)
        write_scan_npz(path, part)
        lines.append(f"{path}: written, {len(part)} frames")
    return lines


def write_scan_npz(path: str | Path, scan: Scan) -> None:
    """Write the field's canonical NPZ, whole; layout in docs/reference/files.md."""
    rows, columns = scan.positions_n2.T
    half = scan.patch_px // 2
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
        "_metadata": json.dumps({"format": FORMAT, "ptycho_torch": __version__}),
    }
    io.write_npz(path, {key: value for key, value in arrays.items() if value is not None})


def write_parts(
    measured: io.PathLike,
    reading: ScanConventions,
    region: RegionSettings,
    outputs: Mapping[str, io.PathLike],
    *,
    file: str,
    sha256: str,
) -> None:
    """Write the parts of a file of measurements, and what they are (docs/reference/files.md).

    outputs: paths of `PARTS` (canonical NPZ) and of `split`, a JSON file; file, sha256: what the
    measurement's file is called, for messages, and its checksum. `InputError` if the file has no
    probe, or no frame is left for a part.
    """
    io.must_have(measured, sha256)
    scan = read_scan(measured, reading)
    if scan.probe_MHW is None:
        raise InputError(f"{file}: has no probe, which rPIE and networks start from")
    gap = half_light_radius_px(scan.probe_MHW)
    train, held, left_out = hold_out_region(scan.positions_n2, region, gap_px=gap, source=file)
    if len(train) < 2:
        raise InputError(f"{file}: one frame is left to learn from; two halves need 2")
    halves = (train[half] for half in interleaved_halves(scan.positions_n2[train]))
    parts = dict(zip(PARTS, (train, *halves, held), strict=True))
    for part, frames in parts.items():
        write_scan_npz(outputs[part], scan.take(frames))
    facts = {
        "notes": list(scan.notes),
        "frames": len(scan),
        "gap_px": gap,
        "gap_frames": left_out.tolist(),
        "parts": {part: frames.tolist() for part, frames in parts.items()},
    }
    io.write_json(outputs["split"], facts)
