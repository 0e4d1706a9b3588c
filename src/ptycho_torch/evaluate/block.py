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
from ptycho_torch.evaluate.scene import Scene, trim
from ptycho_torch.evaluate.scores import (
    FLAT,
    NO_PHASE,
    Score,
    finite,
    image_scores,
    mean_score,
    not_finite,
    same_for_all,
    ssim,
)
from ptycho_torch.evaluate.synchronise import phase_factors
from ptycho_torch.physics.stitch import reassemble, stitch_tiles

Stack = NDArray[np.float64]
ComplexStack = NDArray[np.complex128]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """Images of one set of weights, (I, H, W), aligned with the truth and trimmed.

    An image with NaN or infinity in it is left unaligned.
    """

    amplitude: Stack
    phase: Stack
    phase_synchronised: Stack
    truth_amplitude: Stack
    truth_phase: Stack
    reassembled_amplitude: Stack
    complex_errors: list[Score]
    """As stitched."""
    complex_errors_synchronised: list[Score]
    amplitude_factors: list[Score]
    """mean(truth) / mean(prediction): what the amplitude was multiplied by."""


def overlaps_of(patches_BHW: NDArray[np.complex64], scene: Scene) -> Overlaps:
    """Return what neighbouring patches of a scene say of each other."""
    return compare_overlaps(patches_BHW, scene.positions_B2, scene.image_B, scene.intensity_HW)


def reconstruct(
    patches_BHW: NDArray[np.complex64],
    scene: Scene,
    settings: EvaluationSettings,
    overlaps: Overlaps | None = None,
) -> Reconstruction:
    """Make the images of one set of patches, given in units of the scene's `norm`.

    overlaps: `overlaps_of` the patches, where they are known already.

    The phases are synchronised by factors of modulus 1 per patch, so the stitched amplitude is
    the same before and after. Whole patches are reassembled after it: patches of different
    phase would cancel where they overlap.
    """
    where = (scene.positions_B2, scene.image_B)
    factors = phase_factors(overlaps or overlaps_of(patches_BHW, scene), len(patches_BHW))
    in_phase = patches_BHW * factors.astype(np.complex64)[:, None, None]

    def finish(stitched: ComplexStack) -> ComplexStack:
        return trim(stitched * scene.norm, settings.trim_px)

    return _align(
        scene.truth_IHW(settings.trim_px),
        finish(stitch_tiles(patches_BHW, *where, scene.tile_px)),
        finish(stitch_tiles(in_phase, *where, scene.tile_px)),
        finish(reassemble(in_phase, *where, scene.intensity_HW, scene.tile_px)),
        remove_plane=settings.remove_phase_plane,
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
        each = (
            [image_scores(truth, pred) for truth, pred in zip(truths, preds, strict=True)]
            if defined
            else [same_for_all(NO_PHASE)]
        )
        block |= {f"{name}_{kind}": mean_score([one[kind] for one in each]) for kind in each[0]}
    block["complex_error"] = mean_score(images.complex_errors)
    block["complex_error_synchronised"] = mean_score(images.complex_errors_synchronised)
    block["amplitude_factor"] = mean_score(images.amplitude_factors)
    both = zip(images.truth_amplitude, images.reassembled_amplitude, strict=True)
    block["amplitude_ssim_reassembled"] = mean_score([ssim(truth, pred) for truth, pred in both])
    return block


def ring_curves(images: Reconstruction, scores: dict[str, Score]) -> dict[str, list[float] | None]:
    """Return the mean ring correlations over images; None where `scores` has no crossing."""
    shape = images.amplitude.shape[1:]
    curves: dict[str, list[float] | None] = {
        "cycles_per_px": ring_frequencies((shape[0], shape[1])).tolist()
    }
    pairs = (
        ("amplitude", images.truth_amplitude, images.amplitude),
        ("phase", images.truth_phase, images.phase),
    )
    for name, truths, preds in pairs:
        defined = isinstance(scores[f"{name}_frc_half"], float)
        both = zip(truths, preds, strict=True)
        curves[name] = (
            np.mean([ring_correlation(truth, pred) for truth, pred in both], axis=0).tolist()
            if defined
            else None
        )
    return curves


def _align(
    truth_IHW: ComplexStack,
    stitched_IHW: ComplexStack,
    in_phase_IHW: ComplexStack,
    reassembled_IHW: ComplexStack,
    *,
    remove_plane: bool,
) -> Reconstruction:
    images: dict[str, list[Stack]] = {}
    errors: list[Score] = []
    errors_in_phase: list[Score] = []
    factors: list[Score] = []
    for truth, stitched, in_phase, whole in zip(
        truth_IHW, stitched_IHW, in_phase_IHW, reassembled_IHW, strict=True
    ):
        truth_phase, _ = align.aligned_phases(truth, truth)
        made = {
            "amplitude": _amplitude(truth, stitched),
            "phase": _phase(truth, stitched, remove_plane),
            "phase_synchronised": _phase(truth, in_phase, remove_plane),
            "truth_amplitude": np.abs(truth),
            "truth_phase": truth_phase,
            "reassembled_amplitude": _amplitude(truth, whole),
        }
        for name, image in made.items():
            images.setdefault(name, []).append(image)
        errors.append(_if_finite(align.complex_error, truth, stitched))
        errors_in_phase.append(_if_finite(align.complex_error, truth, in_phase))
        factors.append(_if_finite(align.amplitude_factor, np.abs(truth), np.abs(stitched)))
    stacks = {name: np.stack(stack) for name, stack in images.items()}
    return Reconstruction(
        **stacks,
        complex_errors=errors,
        complex_errors_synchronised=errors_in_phase,
        amplitude_factors=factors,
    )


def _if_finite(
    measure: Callable[[Any, Any], float], truth_HW: NDArray[Any], pred_HW: NDArray[Any]
) -> Score:
    bad = pred_HW.size - int(np.isfinite(pred_HW).sum())
    return finite(measure(truth_HW, pred_HW)) if bad == 0 else not_finite(bad, pred_HW.size)


def _amplitude(truth_HW: ComplexStack, pred_HW: ComplexStack) -> Stack:
    amplitude = np.abs(pred_HW)
    if not np.isfinite(amplitude).all():
        return amplitude
    return amplitude * align.amplitude_factor(np.abs(truth_HW), amplitude)


def _phase(truth_HW: ComplexStack, pred_HW: ComplexStack, remove_plane: bool) -> Stack:
    if not np.isfinite(pred_HW).all():
        phase: Stack = np.angle(pred_HW)
        return phase
    return align.aligned_phases(truth_HW, pred_HW, remove_plane=remove_plane)[1]
