"""Evaluate one run: its files in, `metrics.json` and `reconstruction.npz` out."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from ptycho_torch.config.evaluation import EvaluationSettings
from ptycho_torch.evaluate.block import reconstruct, ring_curves, score
from ptycho_torch.evaluate.outcome import decide_outcome
from ptycho_torch.evaluate.scores import Score, value_of
from ptycho_torch.evaluate.truth import read_predictions, read_truth
from ptycho_torch.evaluate.twin import read_twin
from ptycho_torch.files import io

logger = logging.getLogger(__name__)

_IMAGES = ("amplitude", "phase", "phase_synchronised", "truth_amplitude", "truth_phase")


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
        arrays = {name: getattr(images["best"], name).astype(np.float32) for name in _IMAGES}
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
    io.write_npz(reconstruction, arrays)
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
        "undefined": _reasons(blocks),
        "frc": curves,
        "settings": limits.model_dump(mode="json"),
    }
    io.write_json(metrics, report)
    logger.info("%s: %s", outcome, reason)


def _reasons(blocks: Mapping[str, Mapping[str, Score]]) -> dict[str, str]:
    """Return why scores are null: by their name for the best weights, else `block.name`.

    What is null for the best weights too, for the same reason, is said once.
    """
    reasons: dict[str, str] = {}
    for block, scores in blocks.items():
        for name, value in scores.items():
            if isinstance(value, str) and reasons.get(name) != value:
                reasons[name if block == "best" else f"{block}.{name}"] = value
    return reasons
