"""Reconstruct a measurement by rPIE: from the training frames, from each half of them, and from
the frames held out alone.

Each half starts anew from the file's probe, so nothing but the file is common to the two. The
frames held out are too few to refine a probe: theirs is the training frames'.

Letters: Y rows, X columns of an object, M probe modes, H rows, W columns.
"""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ptycho_torch.config.reconstruct import RpieSettings
from ptycho_torch.data.parts import PARTS, read_part
from ptycho_torch.data.scan import Scan
from ptycho_torch.files import io
from ptycho_torch.reconstruct.rpie import Reconstruction, reconstruct_rpie
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.jobs import usable_threads
from ptycho_torch.runtime.provenance import versions

logger = logging.getLogger(__name__)


def reconstruct_measurement(
    settings: RpieSettings,
    *,
    parts: Mapping[str, io.PathLike],
    outputs: Mapping[str, io.PathLike],
    threads: int,
) -> None:
    """Reconstruct every part.

    Parameters
    ----------
    settings
        Of rPIE.
    parts
        Paths of `PARTS`.
    outputs
        Paths of `objects` (NPZ) and `report` (JSON), see docs/files.md.
    """
    torch.set_num_threads(usable_threads(threads))
    arrays: dict[str, NDArray[Any]] = {}
    facts: dict[str, Any] = {}
    failure = None
    probe: NDArray[Any] | None = None
    for part in PARTS:
        alone = part == "held_out"
        one = settings
        if alone:
            one = settings.model_copy(update={"refine_probe": False, "probe_scale": "given"})
        result = _reconstruct(read_part(parts[part]), one, probe if alone else None)
        if part == "train":
            probe = result.probe_MHW
        arrays |= {
            f"{part}_object": result.object_YX,
            f"{part}_origin": np.array(result.origin, np.int64),
            f"{part}_light": (result.light_YX / result.light_YX.max()).astype(np.float32),
            f"{part}_probe": result.probe_MHW,
        }
        facts[part] = _facts(result)
        logger.info(
            "%s: R %.4g in the last of %d passes", part, result.error[-1], len(result.error)
        )
        if result.stopped == "non_finite" and failure is None:
            failure = {"epoch": len(result.error), "reason": f"{part}: the object is not finite"}
    io.write_npz(outputs["objects"], arrays if failure is None else {})
    io.write_json(
        outputs["report"],
        {
            "engine": "rPIE",
            "settings": settings.model_dump(mode="json"),
            "outcome": "completed" if failure is None else "non_finite",
            "failure": failure,
            "parts": facts,
            "seconds": sum(part["seconds"] for part in facts.values()),
            "threads": torch.get_num_threads(),
            "device": "cpu",
            "versions": versions(torch),
        },
    )


def _reconstruct(
    scan: Scan, settings: RpieSettings, probe_MHW: NDArray[Any] | None
) -> Reconstruction:
    probe = scan.probe_MHW if probe_MHW is None else probe_MHW
    if probe is None:
        raise InputError(f"{scan.source}: has no probe")
    return reconstruct_rpie(
        scan.amplitude_nHW, scan.positions_n2, probe, settings, good_1HW=scan.good_1HW
    )


def _facts(result: Reconstruction) -> dict[str, Any]:
    return {
        "passes": len(result.error),
        "stopped": result.stopped,
        "error": [float(e) if np.isfinite(e) else None for e in result.error],
        "seconds": round(sum(result.seconds), 3),
    }
