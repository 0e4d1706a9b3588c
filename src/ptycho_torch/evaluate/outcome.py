"""How a run ended: training's own word, or what its reconstruction shows, with the reason."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ptycho_torch.config.evaluation import EvaluationSettings
from ptycho_torch.evaluate.twin import TwinReading

# The twin is a statement about the run only if this share of its patches can tell it apart.
MIN_DISTINCT_SHARE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the outcome is decided by; of the best weights. None: not defined.

    outcome: what training said; failure: epoch, step and reason, if training stopped;
    best_mae_val_loss: relative MAE of the best epoch; constant_loss: that of the best constant
    object; complex_error, constant_complex_error: of the stitched image, and of a constant one;
    broken_patches: predicted patches with NaN or infinity in them; amplitude_std_ratio: standard
    deviation of the stitched amplitude over the truth's; amplitude_pearson_r: of the two.
    """

    outcome: str
    failure: Mapping[str, Any] | None
    best_mae_val_loss: float | None
    constant_loss: float | None
    complex_error: float | None
    constant_complex_error: float | None
    broken_patches: int
    amplitude_std_ratio: float | None
    amplitude_pearson_r: float | None
    twin: TwinReading


def decide_outcome(evidence: Evidence, settings: EvaluationSettings) -> tuple[str, str]:
    """Return the outcome and the reason in words, with the numbers and thresholds.

    The first that holds: training's own failure, `non_finite`, `collapsed`, `twin`, `stagnated`,
    `misfit`, `completed`.
    """
    if evidence.outcome != "completed":
        return evidence.outcome, _training_failure(evidence)
    twin, ratio = evidence.twin, evidence.amplitude_std_ratio
    if evidence.broken_patches:
        return "non_finite", (
            f"{evidence.broken_patches} of {twin.patches} predicted patches hold NaN or infinity"
        )
    if ratio is not None and ratio < settings.collapse_fraction:
        return "collapsed", (
            f"the stitched amplitude's standard deviation is {ratio:.3g} of the truth's, under "
            f"collapse_fraction {settings.collapse_fraction:g}: nearly constant"
        )
    if _on_twin(twin, settings):
        return "twin", (
            f"{twin.share:.1%} of {twin.distinct_patches} distinguishable patches are closer to "
            f"the twin, over twin_share {settings.twin_share:.1%}; the median exit wave correlates "
            f"{twin.twin_correlation:.3f} with the true one's twin, {twin.direct_correlation:.3f} "
            "with the true one"
        )
    return (
        _not_learned(evidence, settings)
        or _far_from_truth(evidence, settings)
        or ("completed", _completed(evidence, settings))
    )


def _training_failure(evidence: Evidence) -> str:
    failure = evidence.failure or {}
    where = ", ".join(f"{key} {failure[key]}" for key in ("epoch", "step") if failure.get(key))
    reason = failure.get("reason") or "no reason was given"
    return f"training ended {evidence.outcome}{f' ({where})' if where else ''}: {reason}"


def _on_twin(twin: TwinReading, settings: EvaluationSettings) -> bool:
    if twin.share is None or twin.twin_correlation is None:
        return False
    enough = twin.distinct_patches >= MIN_DISTINCT_SHARE * twin.patches
    good = twin.twin_correlation >= settings.misfit_correlation
    return enough and good and twin.share > settings.twin_share


def _not_learned(evidence: Evidence, settings: EvaluationSettings) -> tuple[str, str] | None:
    """Tell a run that explains the frames no better than an object without any structure."""
    loss, constant = evidence.best_mae_val_loss, evidence.constant_loss
    if loss is None or constant is None or loss < settings.constant_fraction * constant:
        return None
    return "stagnated", (
        f"the best validation loss of {loss:.3g} is not under constant_fraction "
        f"{settings.constant_fraction:g} of the {constant:.3g} of the best constant object"
    )


def _far_from_truth(evidence: Evidence, settings: EvaluationSettings) -> tuple[str, str] | None:
    """Tell a reconstruction that is wrong in spite of a good loss."""
    found = []
    correlation, pearson = evidence.twin.best_correlation, evidence.amplitude_pearson_r
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
    error, constant = evidence.complex_error, evidence.constant_complex_error
    if error is not None and constant is not None and not error < constant:
        found.append(
            f"the complex error of {error:.3g} is not under the {constant:.3g} of a constant image"
        )
    if not found:
        return None
    loss = evidence.best_mae_val_loss
    if loss is None:  # Of what no network made, or of a run that never validated.
        return "misfit", f"{' and '.join(found)}, and there is no validation loss"
    return "misfit", f"{' and '.join(found)}, although the best validation loss is {loss:.3g}"


def _completed(evidence: Evidence, settings: EvaluationSettings) -> str:
    twin = evidence.twin
    share = "no patch can tell" if twin.share is None else f"{twin.share:.1%}"
    parts = [f"patches on the twin: {share} (limit {settings.twin_share:.1%})"]
    for name, value in (
        ("amplitude's standard deviation over the truth's", evidence.amplitude_std_ratio),
        ("median wave correlation", twin.best_correlation),
        ("best validation loss (MAE)", evidence.best_mae_val_loss),
    ):
        parts.append(f"{name}: {'unknown' if value is None else f'{value:.3g}'}")
    return "none of the failures was found; " + "; ".join(parts)
