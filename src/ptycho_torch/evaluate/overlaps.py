"""The common phase that patches get from their overlaps; no truth needed.

Letters: B patches, K pairs of neighbours, H rows, W columns. Positions are (row, column) of a
patch's upper left corner, whole pixels.
"""

from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from ptycho_torch.evaluate.truth import GroundTruth
from ptycho_torch.physics.stitch import common_windows

Complex = NDArray[np.complex128]
Integers = NDArray[np.int64]

# The eight neighbours of a raster; farther ones share little light.
NEIGHBOURS = 8
# An overlap counts if its weights sum to more than this fraction of a whole patch's: less is
# the probe's tails, where a network draws anything.
MIN_WEIGHT = 0.02
# Pairs at a time: what they take stays in the cache, which halves the time.
_BATCH = 32
# Below this number of patches the dense solver is used; eigsh needs more than a few.
_DENSE = 64


def phase_factors(patches_BHW: NDArray[np.complexfloating], truth: GroundTruth) -> Complex:
    """Return the factors of modulus 1 that bring patches to a common phase, (B,).

    A diffraction pattern does not fix the phase of its patch. If patch k is exp(i p_k) times the
    object, the overlaps give exp(i (p_k - p_l)), and the p_k are the phases of the leading
    eigenvector of that Hermitian matrix. Each connected part of the graph has its own free phase,
    chosen so that its factors sum to a positive number (weighted); a patch without overlaps keeps
    its phase. Of the truth only positions and probe are used.
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
    """Return pairs of neighbours in one image (first, second), and the sum of weight * first *
    conj(second) over their overlap.

    A pixel seen with intensities a and b counts by a b / (a + b), the inverse variance of the
    difference. Patches that are zero or not finite have no pairs, nor have dark overlaps.
    """
    positions_B2 = truth.positions_B2
    illumination_HW = (np.abs(truth.probe_MHW) ** 2).sum(axis=0)
    finite = np.isfinite(patches_BHW).all(axis=(1, 2))
    first, second = _neighbours(positions_B2, truth.image_B, finite)
    # Phases need no scale, and single precision overflows in products. Broken patches are in no
    # pair, and of zeros no pair is kept.
    scale = np.abs(patches_BHW[finite]).max(initial=0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        unit_BHW = patches_BHW * (1 / scale)
    least = MIN_WEIGHT * illumination_HW.sum() / 2
    product = np.zeros(len(first), np.complex128)
    apart = positions_B2[second] - positions_B2[first]
    shifts, group = np.unique(apart, axis=0, return_inverse=True)
    for index, shift in enumerate(shifts):
        here, there = common_windows(illumination_HW.shape, illumination_HW.shape, shift)
        a_HW, b_HW = illumination_HW[here], illumination_HW[there]
        weight = np.zeros(a_HW.shape, np.float32)
        bright = a_HW + b_HW > 0
        np.divide(a_HW * b_HW, a_HW + b_HW, out=weight, where=bright, casting="unsafe")
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


def _neighbours(
    positions_B2: Integers, image_B: NDArray[np.integer], usable_B: NDArray[np.bool_]
) -> tuple[Integers, Integers]:
    """Return pairs (first < second) of usable patches that are near in the same image."""
    found = [np.zeros((0, 2), np.int64)]
    for image in np.unique(image_B):
        members = np.flatnonzero((image_B == image) & usable_B)
        count = min(NEIGHBOURS + 1, len(members))
        if count < 2:
            continue
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
