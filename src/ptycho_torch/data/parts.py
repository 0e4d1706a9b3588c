"""One measured scan in four parts: frames to learn from, two halves of them, frames held out.

Letters: n frames.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ptycho_torch.config.real_data import RegionSettings
from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.hold_out import half_light_radius_px, hold_out_region, interleaved_halves
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.scan import Scan
from ptycho_torch.data.write import write_scan_npz
from ptycho_torch.files import io
from ptycho_torch.files.checksums import must_have
from ptycho_torch.runtime.errors import InputError

logger = logging.getLogger(__name__)

PARTS = ("train", "half_a", "half_b", "held_out")
AS_WRITTEN = ScanConventions(
    format="npz", values="amplitude", zero_frequency="centre", origin="centre"
)
"""How files of parts are read: nothing is guessed again from fewer frames."""


def write_parts(
    measured: io.PathLike,
    reading: ScanConventions,
    region: RegionSettings,
    outputs: Mapping[str, io.PathLike],
    *,
    file: str,
    sha256: str,
) -> dict[str, Any]:
    """Read a file of measurements and write its parts.

    Parameters
    ----------
    measured
        The file.
    outputs
        Paths of `PARTS` (canonical NPZ) and of `split`, a JSON file.
    file
        What the measurement's file is called, for messages.
    sha256
        Its checksum.

    Returns
    -------
    dict
        What `split` says (docs/reference/files.md).

    Raises
    ------
    InputError
        If the file has no probe, or no frame is left for a part.
    """
    must_have(measured, sha256)
    scan = read_scan(measured, reading)
    if scan.probe_MHW is None:
        raise InputError(f"{file}: has no probe, which rPIE and networks start from")
    radius = half_light_radius_px(scan.probe_MHW)
    gap = radius if region.gap_px is None else region.gap_px
    held = hold_out_region(scan.positions_n2, region, gap_px=gap, source=file)
    if len(held.train) < 2:
        raise InputError(f"{file}: one frame is left to learn from; two halves need 2")
    halves = interleaved_halves(scan.positions_n2[held.train])
    index = (held.train, held.train[halves[0]], held.train[halves[1]], held.validation)
    frames = dict(zip(PARTS, index, strict=True))
    for part, index_n in frames.items():
        good = scan.good_1HW
        some = replace(
            scan,
            amplitude_nHW=scan.amplitude_nHW[index_n],
            positions_n2=scan.positions_n2[index_n],
            good_1HW=good if good is None or len(good) == 1 else good[index_n],
        )
        write_scan_npz(outputs[part], some)
    positions = scan.positions_n2[held.validation][:, None] - scan.positions_n2[held.train]
    apart = np.hypot(*positions.transpose(2, 0, 1)).min(axis=1)
    facts = {
        "notes": list(scan.notes),
        "frames": len(scan),
        "patch_px": scan.patch_px,
        "intensity_scale": scan.intensity_scale,
        "extent_px": np.ptp(scan.positions_n2, axis=0).tolist(),
        "half_light_radius_px": radius,
        "gap_px": gap,
        "gap_frames": held.gap.tolist(),
        "nearest_px": {"least": float(apart.min()), "largest": float(apart.max())},
        "parts": {part: index_n.tolist() for part, index_n in frames.items()},
    }
    io.write_json(outputs["split"], {"file": file, "sha256": sha256, **facts})
    logger.info(
        "%s: %d frames to learn from, %d held out, %d within %.3g px of those are left out",
        file, len(held.train), len(held.validation), len(held.gap), gap,
    )  # fmt: skip
    return facts


def read_part(path: io.PathLike) -> Scan:
    """Read a part; raises as `read_scan`."""
    return read_scan(path, AS_WRITTEN)
