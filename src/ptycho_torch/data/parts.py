"""One measured scan in four parts: frames to learn from, two halves of them, frames held out."""

from collections.abc import Mapping

import numpy as np

from ptycho_torch.config.real_data import RegionSettings
from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.hold_out import half_light_radius_px, hold_out_region, interleaved_halves
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.write import write_scan_npz
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError

PARTS = ("train", "half_a", "half_b", "held_out")


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
    gap = half_light_radius_px(scan.probe_MHW) if region.gap_px is None else region.gap_px
    train, held, left_out = hold_out_region(scan.positions_n2, region, gap_px=gap, source=file)
    if len(train) < 2:
        raise InputError(f"{file}: one frame is left to learn from; two halves need 2")
    halves = (train[half] for half in interleaved_halves(scan.positions_n2[train]))
    parts = dict(zip(PARTS, (train, *halves, held), strict=True))
    for part, frames in parts.items():
        write_scan_npz(outputs[part], scan.take(frames))
    between = scan.positions_n2[held][:, None] - scan.positions_n2[train]
    apart = np.hypot(*between.transpose(2, 0, 1)).min(axis=1)
    facts = {
        "notes": list(scan.notes),
        "frames": len(scan),
        "gap_px": gap,
        "gap_frames": left_out.tolist(),
        "nearest_px": {"least": float(apart.min()), "largest": float(apart.max())},
        "parts": {part: frames.tolist() for part, frames in parts.items()},
    }
    io.write_json(outputs["split"], facts)
