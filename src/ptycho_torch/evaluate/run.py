"""Evaluate one run: its scores, its images and how it ended; and rPIE's quality by iteration."""

import logging
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from ptycho_torch.config.evaluation import EvaluationSettings
from ptycho_torch.config.scan import ConventionalSettings
from ptycho_torch.data.scan import check_array
from ptycho_torch.evaluate.block import reconstruct, ring_curves, score
from ptycho_torch.evaluate.scores import Score, value_of
from ptycho_torch.evaluate.truth import read_truth, read_twin
from ptycho_torch.files import io
from ptycho_torch.physics.stitch import object_patches

logger = logging.getLogger(__name__)

_IMAGES = ("amplitude", "phase", "phase_synchronised", "truth_amplitude", "truth_phase")
_SCORED = ("amplitude_ssim", "phase_ssim", "complex_error")
_FAILS = {"under": operator.lt, "over": operator.gt, "not under": operator.ge}
# The twin is a statement about the run only if this share of its patches can tell it apart.
MIN_DISTINCT_SHARE = 0.05


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
    truth, made_by_run = read_truth(test, dataset, record), io.read_npz(patches, "best", "last")
    for name, made in made_by_run.items():
        check_array(str(patches), name, made, "complex", (*truth.patches_BHW.shape, "C"))
    predicted = {
        # Of the first channel, in units of `norm`.
        **{name: np.ascontiguousarray(made[..., 0]) for name, made in made_by_run.items()},
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
        "twin": twin,
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


def decide_outcome(
    run: Mapping[str, Any],
    best: Mapping[str, Score],
    twin: Mapping[str, Any],
    settings: EvaluationSettings,
    *,
    broken_patches: int,
    constant_loss: float,
    constant_error: Score,
) -> tuple[str, str]:
    """Return the outcome, and of a failure the reason in words, with the number and its limit.

    The first that holds: training's own failure, `non_finite`, `collapsed`, `twin`, `stagnated`,
    `misfit`, `completed`. run: of `run.json` the `outcome`, `failure` and `best_mae_val_loss`;
    best, twin: scores and twin test of the best weights; broken_patches: of these, predicted
    patches with NaN or infinity in them; constant_loss: that of the best constant object;
    constant_error: complex error of a constant image.
    """
    if run["outcome"] != "completed":
        failure = run["failure"]
        where = f"(epoch {failure['epoch']}, step {failure['step']})"
        return run["outcome"], f"training ended {run['outcome']} {where}: {failure['reason']}"
    if broken_patches:
        bad = f"{broken_patches} of {twin['patches']} predicted patches"
        return "non_finite", f"{bad} hold NaN or infinity"
    distinct, correlation = twin["distinct_patches"], twin["twin_correlation"] or 0.0
    tells = distinct >= MIN_DISTINCT_SHARE * twin["patches"]
    on_twin = twin["share"] if tells and correlation >= settings.misfit_correlation else None
    part = settings.constant_fraction
    best_constant = f"{part:g} of that of the best constant object,"
    # Outcome, what is measured, its value, when it fails, and the limit. In a wave the probe and a
    # positive mean weigh so much that it correlates by 0.88 even where the amplitude's Pearson r is
    # 0.3; usable reconstructions have 0.8 or more.
    checks: tuple[tuple[str, str, Score | None, str, str, Score], ...] = (
        ("collapsed", "the stitched amplitude's standard deviation, of the truth's,",
         best["amplitude_std_ratio"], "under", "collapse_fraction", settings.collapse_fraction),
        ("twin", f"the share of {distinct} distinguishable patches that is closer to the twin",
         on_twin, "over", "twin_share", settings.twin_share),
        ("stagnated", "the best validation loss",
         run["best_mae_val_loss"], "not under", best_constant, part * constant_loss),
        ("misfit", "the median correlation of exit waves with the true ones or their twins",
         twin["best_correlation"], "under", "misfit_correlation", settings.misfit_correlation),
        ("misfit", "the stitched amplitude's Pearson r with the truth's",
         best["amplitude_pearson_r"], "under", "misfit_pearson_r", settings.misfit_pearson_r),
        ("misfit", "the complex error",
         best["complex_error"], "not under", "that of a constant image,", constant_error),
    )  # fmt: skip
    for outcome, what, value, fails, name, limit in checks:
        if isinstance(value, float) and isinstance(limit, float) and _FAILS[fails](value, limit):
            return outcome, f"{what} is {value:.3g}, {fails} {name} {limit:.3g}"
    return "completed", "none of the failures was found"


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
    limits, record = EvaluationSettings.model_validate(settings), io.read_json(run)
    truth = read_truth(test, dataset, record)
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
    kept = ("settings", "dataset_sha256", "iterations", "device", "threads")
    io.write_json(progress, {"scored": rows, **{key: record[key] for key in kept}})
