"""Evaluate one run: its files in, `metrics.json` and `reconstruction.npz` out."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ptycho_torch.config.base import mistake
from ptycho_torch.config.evaluation import EvaluationSettings
from ptycho_torch.evaluate.block import (
    Reconstruction,
    overlaps_of,
    reconstruct,
    ring_curves,
    score,
)
from ptycho_torch.evaluate.outcome import Evidence, decide_outcome
from ptycho_torch.evaluate.overlaps import Overlaps
from ptycho_torch.evaluate.scene import Scene, read_predictions, read_scene
from ptycho_torch.evaluate.scores import Score, Undefined
from ptycho_torch.evaluate.twin import TwinReading, read_twin, turn_back, wave_correlations
from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.runtime.errors import InputError

logger = logging.getLogger(__name__)

Patches = NDArray[np.complex64]
_RUN_KEYS = ("dataset", "arm", "seed", "outcome", "failure", "best_val_loss", "last_val_loss")


def evaluate_run(
    *,
    test: PathLike,
    dataset: PathLike,
    patches: PathLike,
    run: PathLike,
    settings: Mapping[str, Any] | EvaluationSettings,
    metrics: PathLike,
    reconstruction: PathLike,
) -> None:
    """Score a run's test patches and write `metrics` and `reconstruction` (docs/files.md).

    Parameters
    ----------
    test, dataset, patches, run
        `test.npz`, `dataset.json`, `test_patches.npz`, `run.json`.
    settings
        Of `EvaluationSettings`.
    metrics, reconstruction
        Files to write: `metrics.json`, `reconstruction.npz`.

    Raises
    ------
    InputError
        If a file lacks something or the files do not belong together. A run that failed is no
        error: what it cannot have is null, with the reason.
    """
    limits = read_settings(settings)
    record = _read_run(run)
    scene = read_scene(test, dataset)
    # Failed runs predict NaN, infinity and zeros; each score says so for itself.
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        report, images = _evaluate(record, patches, scene, limits)
        io.write_npz(reconstruction, _images(images))
    io.write_json(metrics, {**report, "settings": limits.model_dump(mode="json")})
    logger.info("%s: %s", report["outcome"], report["reason"])


def _evaluate(
    record: Mapping[str, Any], patches: PathLike, scene: Scene, settings: EvaluationSettings
) -> tuple[dict[str, Any], Reconstruction]:
    """Return the contents of `metrics.json`, less the settings, and the best weights' images."""
    truth = scene.truth_patches_BHW
    best = read_predictions(patches, "best", scene)
    overlaps = overlaps_of(best, scene)
    twin = _test_twin(truth, best, scene, overlaps)
    images = reconstruct(best, scene, settings, overlaps)

    def score_patches(made: Patches) -> dict[str, Score]:
        return score(reconstruct(made, scene, settings))

    blocks: dict[str, dict[str, Score] | None] = {
        "best": score(images),
        "last": score_patches(read_predictions(patches, "last", scene)),
        "constant": score_patches(np.ones_like(truth)),
        "truth": score_patches(truth),
        "turned_back": None,
    }
    scores = blocks["best"] or {}
    evidence = Evidence(
        outcome=record["outcome"],
        failure=record["failure"],
        best_mae_val_loss=record["best_mae_val_loss"],
        broken_patches=int((~np.isfinite(best).all(axis=(1, 2))).sum()),
        amplitude_std_ratio=_number(scores["amplitude_std_ratio"]),
        amplitude_pearson_r=_number(scores["amplitude_pearson_r"]),
        twin=twin,
    )
    outcome, reason = decide_outcome(evidence, settings)
    if outcome == "twin":
        blocks["turned_back"] = score_patches(turn_back(best, scene.probe_MHW))
    report = {
        **{key: record[key] for key in ("dataset", "arm", "seed")},
        "outcome": outcome,
        "failure": record["failure"],
        "reason": reason,
        **{key: record[key] for key in ("best_val_loss", "last_val_loss")},
        "twin": asdict(twin),
        **{name: block and _numbers(block) for name, block in blocks.items()},
        "undefined": _reasons(blocks),
        "frc": ring_curves(images, scores),
    }
    return report, images


def _test_twin(truth: Patches, pred: Patches, scene: Scene, overlaps: Overlaps) -> TwinReading:
    correlations = wave_correlations(truth, pred, scene.probe_MHW)
    where = (scene.positions_B2, scene.image_B)
    return read_twin(correlations, pred, *where, scene.probe_MHW, overlaps=overlaps)


def _numbers(block: Mapping[str, Score]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in block.items()}


def _number(value: Score) -> float | None:
    return None if isinstance(value, Undefined) else value


def _reasons(blocks: Mapping[str, Mapping[str, Score] | None]) -> dict[str, str]:
    """Return why scores are null: by their name for the best weights, else `block.name`.

    What is null for the best weights too, for the same reason, is said once.
    """
    reasons: dict[str, str] = {}
    for block, scores in blocks.items():
        for name, value in (scores or {}).items():
            if isinstance(value, Undefined) and reasons.get(name) != value.reason:
                reasons[name if block == "best" else f"{block}.{name}"] = value.reason
    return reasons


def _images(images: Reconstruction) -> dict[str, NDArray[np.float32]]:
    names = ("amplitude", "phase", "phase_synchronised", "truth_amplitude", "truth_phase")
    return {name: getattr(images, name).astype(np.float32) for name in names}


def _read_run(path: PathLike) -> dict[str, Any]:
    record = io.read_json(path)
    for key in (*_RUN_KEYS, "best_mae_val_loss"):
        if key not in record:
            raise InputError(f"{path}: lacks '{key}'; another version wrote it, train again")
    return record


def read_settings(settings: Mapping[str, Any] | EvaluationSettings) -> EvaluationSettings:
    """Return evaluation settings; `InputError` names what is wrong with them."""
    if isinstance(settings, EvaluationSettings):
        return settings
    try:
        return EvaluationSettings.model_validate(dict(settings))
    except ValidationError as error:
        raise mistake("evaluation settings", error) from None
