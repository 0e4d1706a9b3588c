"""From predicted patches to a block of scores: stitch, synchronise, reassemble, align, score.

Every block of `metrics.json` takes this one path, also the constant image and the truth.

Letters: B patches, I images, H rows, W columns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.evaluation import EvaluationSettings
from ptycho_torch.evaluate import align
from ptycho_torch.evaluate.frc import ring_correlation, ring_frequencies
from ptycho_torch.evaluate.overlaps import Overlaps, compare_overlaps
from ptycho_torch.evaluate.scores import (
    FLAT,
    KINDS,
    NO_PHASE,
    Score,
    finite,
    image_scores,
    mean_score,
    not_finite,
    ssim,
)
from ptycho_torch.evaluate.synchronise import phase_factors
from ptycho_torch.evaluate.truth import GroundTruth, trim
from ptycho_torch.physics.stitch import reassemble, stitch_tiles

Stack = NDArray[np.float64]
ComplexStack = NDArray[np.complex128]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """Images of one set of weights, (I, H, W), aligned with the truth and trimmed.

    An image with NaN or infinity in it is left unaligned. complex_errors: as stitched;
    amplitude_factors: mean(truth) / mean(prediction), what the amplitude was multiplied by.
    """

    amplitude: Stack
    phase: Stack
    phase_synchronised: Stack
    truth_amplitude: Stack
    truth_phase: Stack
    reassembled_amplitude: Stack
    complex_errors: list[Score]
    complex_errors_synchronised: list[Score]
    amplitude_factors: list[Score]


def reconstruct(
    patches_BHW: NDArray[np.complex64],
    truth: GroundTruth,
    settings: EvaluationSettings,
    overlaps: Overlaps | None = None,
) -> Reconstruction:
    """Make the images of one set of patches, given in units of the truth's `norm`.

    overlaps: `compare_overlaps` of the patches, where they are known already.

    The phases are synchronised by factors of modulus 1 per patch, so the stitched amplitude is
    the same before and after. Whole patches are reassembled after it: patches of different
    phase would cancel where they overlap.
    """
    where = (truth.positions_B2, truth.image_B)
    overlaps = overlaps or compare_overlaps(patches_BHW, truth)
    factors = phase_factors(overlaps, len(patches_BHW))
    in_phase_BHW = patches_BHW * factors.astype(np.complex64)[:, None, None]
    stitched, in_phase, whole = (
        trim(images * truth.norm, settings.trim_px)
        for images in (
            stitch_tiles(patches_BHW, *where, truth.tile_px),
            stitch_tiles(in_phase_BHW, *where, truth.tile_px),
            reassemble(in_phase_BHW, *where, truth.intensity_HW, truth.tile_px),
        )
    )
    true, plane = truth.images_IHW(settings.trim_px), settings.remove_phase_plane

    def each(measure: Callable[..., Any], pred_IHW: ComplexStack, *more: Any) -> list[Any]:
        return [measure(one, other, *more) for one, other in zip(true, pred_IHW, strict=True)]

    return Reconstruction(
        amplitude=np.stack(each(_amplitude, stitched)),
        phase=np.stack(each(_phase, stitched, plane)),
        phase_synchronised=np.stack(each(_phase, in_phase, plane)),
        truth_amplitude=np.abs(true),
        truth_phase=np.stack([align.aligned_phases(one, one)[0] for one in true]),
        reassembled_amplitude=np.stack(each(_amplitude, whole)),
        complex_errors=each(_if_finite(align.complex_error), stitched),
        complex_errors_synchronised=each(_if_finite(align.complex_error), in_phase),
        amplitude_factors=each(
            _if_finite(lambda one, other: align.amplitude_factor(np.abs(one), np.abs(other))),
            stitched,
        ),
    )


def score(images: Reconstruction) -> dict[str, Score]:
    """Return the scores of a block, means over images; none of phase if the truth has none."""
    block: dict[str, Score] = {}
    phased = all(phase.std() > FLAT for phase in images.truth_phase)
    pairs = (
        ("amplitude", images.truth_amplitude, images.amplitude, True),
        ("phase", images.truth_phase, images.phase, phased),
        ("phase_synchronised", images.truth_phase, images.phase_synchronised, phased),
    )
    for name, truths, preds, defined in pairs:
        both = zip(truths, preds, strict=True)
        each = [image_scores(truth, pred) for truth, pred in both] if defined else []
        for kind in KINDS:
            mean = mean_score([one[kind] for one in each]) if defined else NO_PHASE
            block[f"{name}_{kind}"] = mean
    block["complex_error"] = mean_score(images.complex_errors)
    block["complex_error_synchronised"] = mean_score(images.complex_errors_synchronised)
    block["amplitude_factor"] = mean_score(images.amplitude_factors)
    both = zip(images.truth_amplitude, images.reassembled_amplitude, strict=True)
    block["amplitude_ssim_reassembled"] = mean_score([ssim(truth, pred) for truth, pred in both])
    return block


def ring_curves(images: Reconstruction, scores: dict[str, Score]) -> dict[str, list[float] | None]:
    """Return the mean ring correlations over images; None where `scores` has no crossing."""
    curves: dict[str, list[float] | None] = {
        "cycles_per_px": ring_frequencies(images.amplitude.shape[1:]).tolist()
    }
    for name in ("amplitude", "phase"):
        both = zip(getattr(images, f"truth_{name}"), getattr(images, name), strict=True)
        curves[name] = None
        if isinstance(scores[f"{name}_frc_half"], float):
            each = [ring_correlation(truth, pred) for truth, pred in both]
            curves[name] = np.mean(each, axis=0).tolist()
    return curves


def _if_finite(measure: Callable[[Any, Any], float]) -> Callable[[Any, Any], Score]:
    """Return a measure that is undefined where the prediction is not finite."""

    def measured(truth_HW: NDArray[Any], pred_HW: NDArray[Any]) -> Score:
        return not_finite(pred_HW) or finite(measure(truth_HW, pred_HW))

    return measured


def _amplitude(truth_HW: ComplexStack, pred_HW: ComplexStack) -> Stack:
    amplitude = np.abs(pred_HW)
    if not np.isfinite(amplitude).all():
        return amplitude
    return amplitude * align.amplitude_factor(np.abs(truth_HW), amplitude)


def _phase(truth_HW: ComplexStack, pred_HW: ComplexStack, remove_plane: bool) -> Stack:
    if not np.isfinite(pred_HW).all():
        return np.angle(pred_HW).astype(np.float64)
    return align.aligned_phases(truth_HW, pred_HW, remove_plane=remove_plane)[1]
