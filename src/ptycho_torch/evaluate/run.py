"""Evaluate one run: its files in, `metrics.json` and `reconstruction.npz` out; and rPIE's quality
by iteration, `progress.json`.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from ptycho_torch.config.evaluation import EvaluationSettings
from ptycho_torch.config.scan import ConventionalSettings
from ptycho_torch.evaluate.block import reconstruct, ring_curves, score
from ptycho_torch.evaluate.outcome import decide_outcome
from ptycho_torch.evaluate.scores import value_of
from ptycho_torch.evaluate.truth import read_predictions, read_truth
from ptycho_torch.evaluate.twin import read_twin
from ptycho_torch.files import io
from ptycho_torch.physics.stitch import object_patches

logger = logging.getLogger(__name__)

_IMAGES = ("amplitude", "phase", "phase_synchronised", "truth_amplitude", "truth_phase")
_SCORED = ("amplitude_ssim", "phase_ssim", "complex_error")


def evaluate_run(
    *,
    test: io.PathLike,
    dataset: io.PathLike,
    patches: io.PathLike,
    run: io.PathLike,
    settings: Mapping[str, Any],
    metrics: io.PathLike,
    reconstruction: io.PathLike,
) -> None:
    """Score a run's test patches; write `metrics` and `reconstruction` (docs/reference/files.md).

    The inputs are `test.npz`, `dataset.json`, `test_patches.npz` and `run.json`. A run that failed
    is no error: what it cannot have is null, with the reason. `InputError` if a file lacks
    something or the files do not belong together.
    """
    limits, record = EvaluationSettings.model_validate(settings), io.read_json(run)
    truth = read_truth(test, dataset)
    predicted = {
        "best": read_predictions(patches, "best", truth),
        "last": read_predictions(patches, "last", truth),
        "constant": np.ones_like(truth.patches_BHW),
        "truth": truth.patches_BHW,
    }
    # Failed runs predict NaN, infinity and zeros; each score says so for itself.
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        twin = read_twin(predicted["best"], truth)
        images = {name: reconstruct(made, truth, limits) for name, made in predicted.items()}
        blocks = {name: score(made) for name, made in images.items()}
        curves = ring_curves(images["best"], blocks["best"])
    outcome, reason = decide_outcome(
        record,
        blocks["best"],
        twin,
        limits,
        broken_patches=int((~np.isfinite(predicted["best"]).all(axis=(1, 2))).sum()),
        constant_loss=io.read_json(dataset)["splits"]["validation"]["constant_loss"],
        constant_error=blocks["constant"]["complex_error"],
    )
    best = {name: np.stack([one[name] for one in images["best"]]) for name in _IMAGES}
    io.write_npz(reconstruction, {name: image.astype(np.float32) for name, image in best.items()})
    report = {
        **{key: record[key] for key in ("dataset", "arm", "seed")},
        "outcome": outcome,
        "failure": record["failure"],
        "reason": reason,
        **{key: record[key] for key in ("best_val_loss", "last_val_loss")},
        "twin": asdict(twin),
        **{
            block: {name: value_of(value) for name, value in found.items()}
            for block, found in blocks.items()
        },
        "undefined": {k: why for k, why in blocks["best"].items() if isinstance(why, str)},
        "frc": curves,
        "settings": limits.model_dump(mode="json"),
    }
    io.write_json(metrics, report)
    logger.info("%s: %s", outcome, reason)


def evaluate_progress(
    *,
    test: io.PathLike,
    dataset: io.PathLike,
    objects: io.PathLike,
    run: io.PathLike,
    settings: Mapping[str, Any],
    progress: io.PathLike,
) -> None:
    """Score rPIE's objects of some iterations against the time they took, as a network's patches
    are, cut at the test positions; write `progress` (docs/reference/files.md).

    `objects` and `run` are the reconstruction's. `InputError` if a file lacks something.
    """
    record, truth = io.read_json(run), read_truth(test, dataset)
    limits = EvaluationSettings.model_validate(settings)
    iterations = ConventionalSettings.model_validate(record["settings"]).scored_iterations
    images = range(len(truth.objects_IHW))
    names = [f"object_{image}_iteration_{number}" for image in images for number in iterations]
    arrays = io.read_npz(objects, *names, *(f"origin_{image}" for image in images))
    elapsed, rows = np.cumsum(record["seconds"]), []
    for number in iterations:
        patches = np.empty_like(truth.patches_BHW)
        for image in images:
            mine, thing = truth.image_B == image, arrays[f"object_{image}_iteration_{number}"]
            corners = truth.positions_B2[mine] - arrays[f"origin_{image}"]
            patches[mine] = object_patches(thing[None], corners, np.array(0), patches.shape[-1])
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            scores = score(reconstruct(patches, truth, limits))
        row = {
            "iteration": number,
            "seconds": round(float(elapsed[number - 1]), 6),
            "error": record["error"][number - 1],
            **{name: value_of(scores[name]) for name in _SCORED},
        }
        rows.append(row)
        logger.info("%s", row)
    kept = ("settings", "dataset_sha256", "iterations", "r_factor", "device", "threads")
    io.write_json(progress, {"scored": rows, **{key: record[key] for key in kept}})
