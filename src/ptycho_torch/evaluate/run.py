"""Evaluate one run: its files in, `metrics.json` and `reconstruction.npz` out."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from ptycho_torch.config.evaluation import EvaluationSettings
from ptycho_torch.evaluate.block import Reconstruction, reconstruct, ring_curves, score
from ptycho_torch.evaluate.outcome import Evidence, decide_outcome
from ptycho_torch.evaluate.overlaps import compare_overlaps
from ptycho_torch.evaluate.scores import Score, Undefined, value_of
from ptycho_torch.evaluate.truth import GroundTruth, read_predictions, read_truth
from ptycho_torch.evaluate.twin import read_twin, turn_back
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
    limits, record = EvaluationSettings.model_validate(settings), io.read_result(run, "evaluated")
    truth = read_truth(test, dataset)
    constant = io.read_result(dataset, "constant")["splits"]["validation"]["constant_loss"]
    # Failed runs predict NaN, infinity and zeros; each score says so for itself.
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        report, images = _evaluate(record, patches, truth, limits, constant)
        arrays = {name: getattr(images, name).astype(np.float32) for name in _IMAGES}
    io.write_npz(reconstruction, arrays)
    io.write_json(metrics, {**report, "settings": limits.model_dump(mode="json")})
    logger.info("%s: %s", report["outcome"], report["reason"])


def _evaluate(
    record: Mapping[str, Any],
    patches: io.PathLike,
    truth: GroundTruth,
    settings: EvaluationSettings,
    constant_loss: float | None,
) -> tuple[dict[str, Any], Reconstruction]:
    """Return the contents of `metrics.json`, less the settings, and the best weights' images."""
    best = read_predictions(patches, "best", truth)
    overlaps = compare_overlaps(best, truth)
    twin = read_twin(best, truth, overlaps)
    images = reconstruct(best, truth, settings, overlaps)
    scores = score(images)
    others = {
        "last": read_predictions(patches, "last", truth),
        "constant": np.ones_like(truth.patches_BHW),
        "truth": truth.patches_BHW,
    }
    blocks = {"best": scores} | {
        name: score(reconstruct(made, truth, settings)) for name, made in others.items()
    }
    evidence = Evidence(
        outcome=record["outcome"],
        failure=record["failure"],
        best_mae_val_loss=record["best_mae_val_loss"],
        constant_loss=constant_loss,
        complex_error=value_of(scores["complex_error"]),
        constant_complex_error=value_of(blocks["constant"]["complex_error"]),
        broken_patches=int((~np.isfinite(best).all(axis=(1, 2))).sum()),
        amplitude_std_ratio=value_of(scores["amplitude_std_ratio"]),
        amplitude_pearson_r=value_of(scores["amplitude_pearson_r"]),
        twin=twin,
    )
    outcome, reason = decide_outcome(evidence, settings)
    if outcome == "twin":
        turned = turn_back(best, truth.probe_MHW)
        blocks["turned_back"] = score(reconstruct(turned, truth, settings))
    values = {
        block: {name: value_of(value) for name, value in found.items()}
        for block, found in blocks.items()
    }
    report = {
        **{key: record[key] for key in ("dataset", "arm", "seed")},
        "outcome": outcome,
        "failure": record["failure"],
        "reason": reason,
        **{key: record[key] for key in ("best_val_loss", "last_val_loss")},
        "twin": asdict(twin),
        **values,
        "turned_back": values.get("turned_back"),
        "undefined": _reasons(blocks),
        "frc": ring_curves(images, scores),
    }
    return report, images


def _reasons(blocks: Mapping[str, Mapping[str, Score]]) -> dict[str, str]:
    """Return why scores are null: by their name for the best weights, else `block.name`.

    What is null for the best weights too, for the same reason, is said once.
    """
    reasons: dict[str, str] = {}
    for block, scores in blocks.items():
        for name, value in scores.items():
            if isinstance(value, Undefined) and reasons.get(name) != value.reason:
                reasons[name if block == "best" else f"{block}.{name}"] = value.reason
    return reasons
