"""Use a network on every part of the measurement it was trained on.

Its objects are kept with a probe in the file's units, so that |F(probe x object)| are the file's
amplitudes, and rPIE's and the networks' objects are scored alike.

Letters: P patches, M probe modes, H rows, W columns.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.scan import InferSettings
from ptycho_torch.data.parts import PARTS, read_part
from ptycho_torch.files import io
from ptycho_torch.infer.run import Inference, infer_scan
from ptycho_torch.networks.bundle import Bundle, read_bundle
from ptycho_torch.runtime.provenance import versions


def infer_measurement(
    run: io.PathLike,
    *,
    parts: Mapping[str, io.PathLike],
    outputs: Mapping[str, io.PathLike],
    accelerator: str = "auto",
    threads: int,
) -> None:
    """Stitch every part with the run's best weights; a failed run has a report and no objects.

    Parameters
    ----------
    run
        Its `run.json`, beside its bundle.
    parts
        Paths of `PARTS`.
    outputs
        Paths of `objects` (NPZ) and `report` (JSON), see docs/files.md.
    threads
        CPU threads that torch may use, at most the machine's.
    """
    record = io.read_json(run)
    arrays: dict[str, NDArray[Any]] = {}
    seconds = 0.0
    settings = InferSettings.model_validate({"accelerator": accelerator, "threads": threads})
    if record["outcome"] == "completed":
        bundle = read_bundle(Path(run).parent / "bundle")
        for part in PARTS:
            found = _infer(bundle, parts[part], settings)
            seconds += found.report["timing"]["network_s"]
            arrays |= _arrays(part, found)
    timing = io.read_json(Path(run).parent / "timing.json")
    io.write_npz(outputs["objects"], arrays)
    io.write_json(
        outputs["report"],
        {
            "engine": "network",
            "outcome": record["outcome"],
            "failure": record["failure"],
            "best_epoch": record["best_epoch"],
            "epochs": record["epochs"],
            "best_val_loss": record["best_val_loss"],
            "settings": record["settings"],
            "train_frames": record["data"]["train_frames"],
            "seconds": timing["wall_s"],
            "inference_s": round(seconds, 3),
            "threads": timing["threads"],
            "device": timing["device"],
            "versions": versions(),
        },
    )


def _infer(bundle: Bundle, path: io.PathLike, settings: InferSettings) -> Inference:
    # The probe that the network was trained under, whatever the file guesses.
    scan = replace(read_part(path), probe_MHW=bundle.probe_MHW.numpy())
    return infer_scan(bundle, scan, settings)


def _arrays(part: str, found: Inference) -> dict[str, NDArray[Any]]:
    light = found.stitched.coverage_YX
    arrays: dict[str, NDArray[Any]] = {
        f"{part}_object": found.stitched.object_YX,
        f"{part}_origin": found.stitched.origin_2,
        f"{part}_light": light / light.max(),
        f"{part}_probe": (found.probe_MHW * found.unit).astype(np.complex64),
    }
    if part == "held_out":
        patches = found.patches_GCHW
        arrays["held_out_patches"] = patches.reshape(-1, *patches.shape[-2:])
        arrays["held_out_members"] = found.members_GC.reshape(-1)
    return arrays
