"""How a run ended: training's own word, or what its reconstruction shows, with the reason."""

from collections.abc import Mapping
from typing import Any

from ptycho_torch.config.evaluation import EvaluationSettings
from ptycho_torch.evaluate.scores import Score, value_of
from ptycho_torch.evaluate.twin import TwinReading

# The twin is a statement about the run only if this share of its patches can tell it apart.
MIN_DISTINCT_SHARE = 0.05


def decide_outcome(
    run: Mapping[str, Any],
    best: Mapping[str, Score],
    twin: TwinReading,
    settings: EvaluationSettings,
    *,
    broken_patches: int,
    constant_loss: float,
    constant_error: Score,
) -> tuple[str, str]:
    """Return the outcome, and of a failure the reason in words, with the numbers and thresholds.

    The first that holds: training's own failure, `non_finite`, `collapsed`, `twin`, `stagnated`,
    `misfit`, `completed`. run: of `run.json` the `outcome`, `failure` and `best_mae_val_loss`;
    best, twin: scores and twin test of the best weights; broken_patches: of these, predicted
    patches with NaN or infinity in them; constant_loss: that of the best constant object;
    constant_error: complex error of a constant image.
    """
    if run["outcome"] != "completed":
        failure = run["failure"] or {}
        where = ", ".join(f"{key} {failure[key]}" for key in ("epoch", "step") if failure.get(key))
        ended = f"training ended {run['outcome']}{f' ({where})' if where else ''}"
        return run["outcome"], f"{ended}: {failure.get('reason') or 'no reason was given'}"
    if broken_patches:
        bad = f"{broken_patches} of {twin.patches} predicted patches"
        return "non_finite", f"{bad} hold NaN or infinity"
    ratio = value_of(best["amplitude_std_ratio"])
    if ratio is not None and ratio < settings.collapse_fraction:
        return "collapsed", (
            f"the stitched amplitude's standard deviation is {ratio:.3g} of the truth's, under "
            f"collapse_fraction {settings.collapse_fraction:g}: nearly constant"
        )
    if (
        twin.share is not None
        and twin.twin_correlation is not None
        and twin.distinct_patches >= MIN_DISTINCT_SHARE * twin.patches
        and twin.twin_correlation >= settings.misfit_correlation
        and twin.share > settings.twin_share
    ):
        return "twin", (
            f"{twin.share:.1%} of {twin.distinct_patches} distinguishable patches are closer to "
            f"the twin, over twin_share {settings.twin_share:.1%}; the median exit wave correlates "
            f"{twin.twin_correlation:.3f} with the true one's twin, {twin.direct_correlation:.3f} "
            "with the true one"
        )
    loss = run["best_mae_val_loss"]
    if loss is not None and loss >= settings.constant_fraction * constant_loss:
        # It explains the frames no better than an object without any structure.
        return "stagnated", (
            f"the best validation loss of {loss:.3g} is not under constant_fraction "
            f"{settings.constant_fraction:g} of the {constant_loss:.3g} of the best constant object"
        )
    if far := _far_from_truth(best, twin, value_of(constant_error), settings):
        # No loss: of what no network made, or of a run that never validated.
        known_by = "and there is no validation loss"
        if loss is not None:
            known_by = f"although the best validation loss is {loss:.3g}"
        return "misfit", f"{' and '.join(far)}, {known_by}"
    return "completed", "none of the failures was found"


def _far_from_truth(
    best: Mapping[str, Score],
    twin: TwinReading,
    constant_error: float | None,
    settings: EvaluationSettings,
) -> list[str]:
    """Return what shows that a reconstruction is wrong in spite of a good loss."""
    found = []
    correlation, pearson = twin.best_correlation, value_of(best["amplitude_pearson_r"])
    if correlation is not None and correlation < settings.misfit_correlation:
        found.append(
            f"the median patch's exit wave correlates {correlation:.3f} with the true one or its "
            f"twin, under misfit_correlation {settings.misfit_correlation:g}"
        )
    # In a wave the probe and a positive mean weigh so much that it correlates by 0.88 even where
    # the amplitude's Pearson r is 0.3 (patches of the triangle retrieved from random starts, loss
    # 0.14 to 0.16). Usable reconstructions have 0.8 or more.
    if pearson is not None and pearson < settings.misfit_pearson_r:
        found.append(
            f"the stitched amplitude's Pearson r is {pearson:.3f}, under misfit_pearson_r "
            f"{settings.misfit_pearson_r:g}"
        )
    error = value_of(best["complex_error"])
    if error is not None and constant_error is not None and error >= constant_error:
        of_constant = f"the {constant_error:.3g} of a constant image"
        found.append(f"the complex error of {error:.3g} is not under {of_constant}")
    return found
