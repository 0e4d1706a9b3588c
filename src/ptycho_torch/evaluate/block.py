"""From predicted patches to a block of scores: stitch, synchronise, align, score.

Every block of `metrics.json` takes this one path, also the constant image and the truth.

Letters: B patches, I images, H rows, W columns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.evaluation import EvaluationSettings
from ptycho_torch.evaluate import align, scores
from ptycho_torch.evaluate.frc import ring_correlation, ring_frequencies
from ptycho_torch.evaluate.overlaps import phase_factors
from ptycho_torch.evaluate.scores import KINDS, Score
from ptycho_torch.evaluate.truth import GroundTruth, trim
from ptycho_torch.physics.stitch import stitch_tiles
from ptycho_torch.runtime.errors import InputError

Stack = NDArray[np.float64]
ComplexStack = NDArray[np.complex128]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """Trimmed images of one set of weights, (I, H, W).

    truth, stitched, synchronised: complex, as stitched; the others are aligned with the truth, but
    for images with NaN or infinity in them, which are left as they are.
    """

    truth: ComplexStack
    stitched: ComplexStack
    synchronised: ComplexStack
    amplitude: Stack
    phase: Stack
    phase_synchronised: Stack
    truth_amplitude: Stack
    truth_phase: Stack


def reconstruct(
    patches_BHW: NDArray[np.complex64], truth: GroundTruth, settings: EvaluationSettings
) -> Reconstruction:
    """Make the images of one set of patches, given in units of the truth's `norm`.

    The phases are synchronised by factors of modulus 1 per patch, so the stitched amplitude is
    the same before and after.
    """
    factors = phase_factors(patches_BHW, truth).astype(np.complex64)
    stitched, synchronised = (
        trim(
            stitch_tiles(patches, truth.positions_B2, truth.image_B, truth.tile_px) * truth.norm,
            settings.trim_px,
        )
        for patches in (patches_BHW, patches_BHW * factors[:, None, None])
    )
    true = truth.images_IHW(settings.trim_px)
    return _aligned(true, stitched, synchronised, settings.remove_phase_plane)


def evaluate(object_YX: Any, truth_YX: Any, *, remove_phase_plane: bool = True) -> dict[str, Score]:
    """Return the scores of one complex object beside the truth of the same shape, which
    `ptycho_torch.evaluate` calls: SSIM, MAE, PSNR and FRC of amplitude and phase, and the relative
    complex error; a score that is not defined is the reason as text.

    The amplitude's factor, a constant phase and, unless forbidden, a phase plane are removed first.
    `InputError` if the shapes differ.
    """
    made, true = (np.asarray(array, dtype=np.complex128)[None] for array in (object_YX, truth_YX))
    if made.shape != true.shape:
        raise InputError(f"object: is {made.shape[1:]}, expected {true.shape[1:]} as the truth")
    found = score(_aligned(true, made, made, remove_phase_plane))
    return {name: value for name, value in found.items() if "synchronised" not in name}


def _aligned(
    true: ComplexStack, stitched: ComplexStack, synchronised: ComplexStack, plane: bool
) -> Reconstruction:
    amplitude = np.abs(stitched)
    for true_amplitude, pred in zip(np.abs(true), amplitude, strict=True):
        if np.isfinite(pred).all():
            pred *= align.amplitude_factor(true_amplitude, pred)
    return Reconstruction(
        truth=true,
        stitched=stitched,
        synchronised=synchronised,
        amplitude=amplitude,
        phase=_phases(true, stitched, plane),
        phase_synchronised=_phases(true, synchronised, plane),
        truth_amplitude=np.abs(true),
        truth_phase=np.stack([align.aligned_phases(one, one)[0] for one in true]),
    )


def score(images: Reconstruction) -> dict[str, Score]:
    """Return the scores of a block, means over images; none of phase if the truth has none."""
    block: dict[str, Score] = {}
    phased = all(phase.std() > scores.FLAT for phase in images.truth_phase)
    for name in ("amplitude", "phase", "phase_synchronised"):
        truths = images.truth_amplitude if name == "amplitude" else images.truth_phase
        if name == "amplitude" or phased:
            both = zip(truths, getattr(images, name), strict=True)
            each = [scores.image_scores(truth, pred) for truth, pred in both]
        else:
            each = [dict.fromkeys(KINDS, scores.NO_PHASE)]
        block |= {
            f"{name}_{kind}": scores.mean_score([one[kind] for one in each]) for kind in KINDS
        }
    true, stitched = images.truth, images.stitched
    block["complex_error"] = _mean(align.complex_error, true, stitched)
    block["complex_error_synchronised"] = _mean(align.complex_error, true, images.synchronised)
    block["amplitude_factor"] = _mean(align.amplitude_factor, np.abs(true), np.abs(stitched))
    return block


def ring_curves(images: Reconstruction, block: dict[str, Score]) -> dict[str, list[float] | None]:
    """Return the mean ring correlations over images; None where the block has no crossing."""
    curves: dict[str, list[float] | None] = {
        "cycles_per_px": ring_frequencies(images.amplitude.shape[1:]).tolist()
    }
    pairs = {
        "amplitude": (images.truth_amplitude, images.amplitude),
        "phase": (images.truth_phase, images.phase),
    }
    for name, both in pairs.items():
        defined = isinstance(block[f"{name}_frc_half"], float)
        each = map(ring_correlation, *both) if defined else ()
        curves[name] = np.mean(list(each), axis=0).tolist() if defined else None
    return curves


def _mean(measure: Callable[[Any, Any], Score], truths: NDArray[Any], preds: NDArray[Any]) -> Score:
    """Return the mean of a measure over images; undefined where a prediction is not finite."""
    both = zip(truths, preds, strict=True)
    each = [scores.not_finite(pred) or measure(true, pred) for true, pred in both]
    return scores.mean_score(each)


def _phases(truth_IHW: ComplexStack, pred_IHW: ComplexStack, remove_plane: bool) -> Stack:
    phases = np.angle(pred_IHW)
    for index, (truth, pred) in enumerate(zip(truth_IHW, pred_IHW, strict=True)):
        if np.isfinite(pred).all():
            phases[index] = align.aligned_phases(truth, pred, remove_plane=remove_plane)[1]
    return phases
