"""From predicted patches to a block of scores of `metrics.json`: stitch, synchronise, align, score.

Letters: B patches, K pairs of neighbours, H rows, W columns. Positions are (row, column) of a
patch's upper left corner, whole pixels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from ptycho_torch.config.evaluation import SSIM_WINDOW_PX, EvaluationSettings
from ptycho_torch.evaluate import scores
from ptycho_torch.evaluate.scores import KINDS, Score, ring_correlation, ring_frequencies
from ptycho_torch.evaluate.truth import GroundTruth
from ptycho_torch.physics.stitch import common_windows, stitch_tiles
from ptycho_torch.runtime.errors import InputError

Complex = NDArray[np.complex128]
Integers = NDArray[np.int64]
Images = dict[str, NDArray[Any]]
"""One trimmed image of one set of weights, (H, W): complex as stitched, `truth`, `stitched`,
`synchronised`; aligned with the truth, `amplitude`, `phase`, `phase_synchronised`, beside
`truth_amplitude` and `truth_phase`. Where NaN or infinity is in it, an image is not aligned."""

# The eight neighbours of a raster; farther ones share little light.
NEIGHBOURS = 8
# An overlap of less than this fraction of a patch's weights is the probe's tails: not compared.
MIN_WEIGHT = 0.02
# Pairs at a time: what they take stays in the cache, which halves the time.
_BATCH = 32
# Below this number of patches the dense solver is used; eigsh needs more than a few.
_DENSE = 64


def reconstruct(
    patches_BHW: NDArray[np.complex64], truth: GroundTruth, settings: EvaluationSettings
) -> list[Images]:
    """Make the images of one set of patches, given in units of the truth's `norm`."""
    factors = phase_factors(patches_BHW, truth).astype(np.complex64)
    made = [
        stitch_tiles(patches, truth.positions_B2, truth.image_B, truth.tile_px) * truth.norm
        for patches in (patches_BHW, patches_BHW * factors[:, None, None])
    ]
    inner = slice(settings.trim_px, -settings.trim_px or None)
    each = zip(*(images[:, inner, inner] for images in (truth.images_IHW, *made)), strict=True)
    return [_aligned(*one, plane=settings.remove_phase_plane) for one in each]


def evaluate(object_YX: Any, truth_YX: Any, *, remove_phase_plane: bool = True) -> dict[str, Score]:
    """Return the scores of one complex object beside the truth of the same shape, which
    `ptycho_torch.evaluate` calls: SSIM, MAE, PSNR and FRC of amplitude and phase, and the relative
    complex error; a score that is not defined is the reason as text.

    The amplitude's factor, a constant phase and, unless forbidden, a phase plane are removed first.
    `InputError` if the shapes differ or are too small for SSIM's window.
    """
    made, true = (np.asarray(array, dtype=np.complex128) for array in (object_YX, truth_YX))
    if made.shape != true.shape:
        raise InputError(f"object: is {made.shape}, expected {true.shape} as the truth")
    found = score([_aligned(true, made, made, plane=remove_phase_plane)])
    return {name: value for name, value in found.items() if "synchronised" not in name}


def _aligned(
    true: NDArray[Any], stitched: NDArray[Any], synchronised: NDArray[Any], *, plane: bool
) -> Images:
    if min(true.shape) < SSIM_WINDOW_PX:
        raise InputError(
            f"an image of {' x '.join(map(str, true.shape))} px is too small to score, expected "
            f"{SSIM_WINDOW_PX} or more a side; make evaluation.trim_px smaller"
        )

    def phase(pred: NDArray[Any]) -> NDArray[Any]:
        if scores.not_finite(pred):
            return np.angle(pred)
        return scores.aligned_phases(true, pred, remove_plane=plane)[1]

    amplitude = np.abs(stitched)
    if not scores.not_finite(amplitude):
        amplitude *= scores.amplitude_factor(np.abs(true), amplitude)
    return {
        "truth": true,
        "stitched": stitched,
        "synchronised": synchronised,
        "amplitude": amplitude,
        "phase": phase(stitched),
        "phase_synchronised": phase(synchronised),
        "truth_amplitude": np.abs(true),
        "truth_phase": scores.aligned_phases(true, true)[0],
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

    true, stitched, synchronised = (images[k] for k in ("truth", "stitched", "synchronised"))
    factor = scores.amplitude_factor(np.abs(true), np.abs(stitched))
    block["amplitude_factor"] = scores.not_finite(stitched) or factor
    for name, made in (("", stitched), ("_synchronised", synchronised)):
        block[f"complex_error{name}"] = scores.not_finite(made) or scores.complex_error(true, made)
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


def phase_factors(patches_BHW: NDArray[np.complexfloating], truth: GroundTruth) -> Complex:
    """Return the factors of modulus 1 that bring patches to a common phase, (B,).

    A diffraction pattern does not fix the phase of its patch. If patch k is exp(i p_k) times the
    object, the overlaps give exp(i (p_k - p_l)), and the p_k are the phases of the leading
    eigenvector of that Hermitian matrix. Each connected part has its own free phase, chosen so that
    its weighted factors sum to a positive number. Of the truth only positions and probe are used.
    Singer, Appl. Comput. Harmon. Anal. 30, 20 (2011), doi:10.1016/j.acha.2010.02.001;
    Marchesini et al., Inverse Problems 29, 115009 (2013), doi:10.1088/0266-5611/29/11/115009.
    """
    patches = len(patches_BHW)
    first, second, product = _overlap_products(patches_BHW, truth)
    upper = scipy.sparse.csr_array((product, (first, second)), shape=(patches, patches))
    matrix = (upper + upper.conj().T).tocsr()
    degree = np.asarray(abs(matrix).sum(axis=1)).ravel()
    factors = np.ones(patches, np.complex128)
    _, label_B = scipy.sparse.csgraph.connected_components(abs(matrix), directed=False)
    for label in np.unique(label_B[degree > 0]):
        members = np.flatnonzero(label_B == label)
        # Scaled by the degrees, the eigenvector spreads over all patches, bright or dim.
        scale = scipy.sparse.diags_array(1 / np.sqrt(degree[members]))
        vector = _leading_vector((scale @ matrix[members][:, members] @ scale).tocsr())
        turned = np.exp(-1j * np.angle(vector))
        turned *= np.exp(-1j * np.angle((degree[members] * turned).sum()))
        factors[members] = turned
    return factors


def _overlap_products(
    patches_BHW: NDArray[np.complexfloating], truth: GroundTruth
) -> tuple[Integers, Integers, Complex]:
    """Return pairs of neighbours in one image (first, second), and the sum over their overlap of
    first * conj(second), weighted by the inverse variance of the difference, a b / (a + b) under
    intensities a and b. Patches that are zero or not finite have no pairs, nor have dark overlaps.
    """
    positions_B2 = truth.positions_B2
    illumination_HW = (np.abs(truth.probe_MHW) ** 2).sum(axis=0)
    first, second = _neighbours(positions_B2, truth.image_B)
    # Of zeros no pair is kept. Phases need no scale, and single precision overflows in products.
    whole_BHW = np.where(np.isfinite(patches_BHW).all(axis=(1, 2), keepdims=True), patches_BHW, 0)
    unit_BHW = whole_BHW * (1 / (np.abs(whole_BHW).max() or 1))
    least = MIN_WEIGHT * illumination_HW.sum() / 2
    product = np.zeros(len(first), np.complex128)
    apart = positions_B2[second] - positions_B2[first]
    shifts, group = np.unique(apart, axis=0, return_inverse=True)
    for index, shift in enumerate(shifts):
        here, there = common_windows(illumination_HW.shape, illumination_HW.shape, shift)
        a_HW, b_HW = illumination_HW[here], illumination_HW[there]
        weight = np.zeros(a_HW.shape, np.float32)
        np.divide(a_HW * b_HW, a_HW + b_HW, out=weight, where=a_HW + b_HW > 0, casting="unsafe")
        if weight.sum() <= least:
            continue
        pairs = np.flatnonzero(group.ravel() == index)
        # Windows first, as views: picking patches and windows at once takes three times as long.
        a_BHW, b_BHW = unit_BHW[:, *here], unit_BHW[:, *there]
        for start in range(0, len(pairs), _BATCH):
            batch = pairs[start : start + _BATCH]
            a, b = a_BHW[first[batch]] * weight, b_BHW[second[batch]].conj()
            product[batch] = np.einsum("bhw,bhw->b", a, b)
    kept = np.abs(product) > 0
    return first[kept], second[kept], product[kept]


def _neighbours(positions_B2: Integers, image_B: Integers) -> tuple[Integers, Integers]:
    """Return pairs (first < second) of patches that are near in the same image."""
    found = []
    for image in np.unique(image_B):
        members = np.flatnonzero(image_B == image)
        count = min(NEIGHBOURS + 1, len(members))
        near = scipy.spatial.cKDTree(positions_B2[members]).query(positions_B2[members], k=count)[1]
        pairs = np.stack([np.repeat(np.arange(len(members)), count), near.ravel()], axis=1)
        found.append(members[np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)])
    pairs = np.unique(np.concatenate(found), axis=0)
    return pairs[:, 0], pairs[:, 1]


def _leading_vector(matrix: Any) -> Complex:
    """Return the eigenvector of the largest eigenvalue; the same bytes on every call."""
    size = matrix.shape[0]
    if size <= _DENSE:
        return np.linalg.eigh(matrix.toarray())[1][:, -1]
    stream = np.random.default_rng(0)
    # A generic start: from an exact eigenvector, Lanczos would continue at random.
    start = stream.normal(size=size) + 1j * stream.normal(size=size)
    limits: dict[str, Any] = {"tol": 1e-10, "maxiter": 20 * size}
    try:
        return scipy.sparse.linalg.eigsh(matrix, k=1, which="LA", v0=start, **limits)[1][:, 0]
    except scipy.sparse.linalg.ArpackNoConvergence:
        return np.ones(size, np.complex128)
