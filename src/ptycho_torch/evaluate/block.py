"""From predicted patches to a block of scores: stitch, synchronise, align, score.

Every block of `metrics.json` takes this one path, also the constant image and the truth.

Letters: B patches, H rows, W columns.
"""

from collections.abc import Callable, Sequence
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

Images = dict[str, NDArray[Any]]
"""One trimmed image of one set of weights, (H, W): complex as stitched, `truth`, `stitched`,
`synchronised`; aligned with the truth, `amplitude`, `phase`, `phase_synchronised`, beside
`truth_amplitude` and `truth_phase`. Where NaN or infinity is in it, an image is not aligned."""


def reconstruct(
    patches_BHW: NDArray[np.complex64], truth: GroundTruth, settings: EvaluationSettings
) -> list[Images]:
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
    each = zip(truth.images_IHW(settings.trim_px), stitched, synchronised, strict=True)
    return [_aligned(*one, settings.remove_phase_plane) for one in each]


def evaluate(object_YX: Any, truth_YX: Any, *, remove_phase_plane: bool = True) -> dict[str, Score]:
    """Return the scores of one complex object beside the truth of the same shape, which
    `ptycho_torch.evaluate` calls: SSIM, MAE, PSNR and FRC of amplitude and phase, and the relative
    complex error; a score that is not defined is the reason as text.

    The amplitude's factor, a constant phase and, unless forbidden, a phase plane are removed first.
    `InputError` if the shapes differ.
    """
    made, true = (np.asarray(array, dtype=np.complex128) for array in (object_YX, truth_YX))
    if made.shape != true.shape:
        raise InputError(f"object: is {made.shape}, expected {true.shape} as the truth")
    found = score([_aligned(true, made, made, remove_phase_plane)])
    return {name: value for name, value in found.items() if "synchronised" not in name}


def _aligned(
    true: NDArray[Any], stitched: NDArray[Any], synchronised: NDArray[Any], plane: bool
) -> Images:
    def phase(pred: NDArray[Any]) -> NDArray[Any]:
        if scores.not_finite(pred):
            return np.angle(pred)
        return align.aligned_phases(true, pred, remove_plane=plane)[1]

    amplitude = np.abs(stitched)
    if not scores.not_finite(amplitude):
        amplitude *= align.amplitude_factor(np.abs(true), amplitude)
    return {
        "truth": true,
        "stitched": stitched,
        "synchronised": synchronised,
        "amplitude": amplitude,
        "phase": phase(stitched),
        "phase_synchronised": phase(synchronised),
        "truth_amplitude": np.abs(true),
        "truth_phase": align.aligned_phases(true, true)[0],
    }


def score(images: Sequence[Images]) -> dict[str, Score]:
    """Return the scores of a block, means over images; none of phase if the truth has none."""
    blocks = [_scores(one) for one in images]
    return {name: scores.mean_score([block[name] for block in blocks]) for name in blocks[0]}


def _scores(images: Images) -> dict[str, Score]:
    block: dict[str, Score] = {}
    phased = images["truth_phase"].std() > scores.FLAT
    for name in ("amplitude", "phase", "phase_synchronised"):
        kinds: dict[str, Score] = dict.fromkeys(KINDS, scores.NO_PHASE)
        if name == "amplitude" or phased:
            truth = images[f"truth_{name.removesuffix('_synchronised')}"]
            kinds = scores.image_scores(truth, images[name])
        block |= {f"{name}_{kind}": value for kind, value in kinds.items()}

    def add(name: str, measure: Callable[..., Score], true: Any, pred: Any) -> None:
        block[name] = scores.not_finite(pred) or measure(true, pred)

    true, stitched = images["truth"], images["stitched"]
    add("complex_error", align.complex_error, true, stitched)
    add("complex_error_synchronised", align.complex_error, true, images["synchronised"])
    add("amplitude_factor", align.amplitude_factor, np.abs(true), np.abs(stitched))
    return block


def ring_curves(images: Sequence[Images], block: dict[str, Score]) -> dict[str, list[float] | None]:
    """Return the mean ring correlations over images; None where the block has no crossing."""
    frequencies = ring_frequencies(images[0]["truth"].shape)
    curves: dict[str, list[float] | None] = {"cycles_per_px": frequencies.tolist()}
    for name in ("amplitude", "phase"):
        curves[name] = None
        if isinstance(block[f"{name}_frc_half"], float):
            each = [ring_correlation(one[f"truth_{name}"], one[name]) for one in images]
            curves[name] = np.mean(each, axis=0).tolist()
    return curves
