"""Give the patches one common phase, from their overlaps alone; no truth needed.

A diffraction pattern does not fix the phase of its patch. If patch k is exp(i p_k) times the
object, the overlaps give exp(i (p_k - p_l)), and the p_k are the phases of the leading
eigenvector of that Hermitian matrix.

Letters: B patches, K pairs of neighbours.

References
----------
Singer, Appl. Comput. Harmon. Anal. 30, 20 (2011), doi:10.1016/j.acha.2010.02.001; for
ptychography: Marchesini et al., Inverse Problems 29, 115009 (2013),
doi:10.1088/0266-5611/29/11/115009.
"""

from typing import TYPE_CHECKING

import numpy as np
import scipy
from numpy.typing import NDArray

from ptycho_torch.evaluate.overlaps import Overlaps

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Complex = NDArray[np.complex128]

# Below this number of patches the dense solver is used; eigsh needs more than a few.
_DENSE = 64
_TOLERANCE = 1e-10


def phase_factors(overlaps: Overlaps, patches: int) -> Complex:
    """Return the factors of modulus 1 that bring so many patches to a common phase, (B,).

    Multiply patch k by factor k. Each connected part of the graph has its own free phase, chosen
    so that its factors sum to a positive number (weighted); a patch without overlaps keeps its
    phase.
    """
    matrix = _hermitian(overlaps, patches)
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


def _hermitian(overlaps: Overlaps, patches: int) -> "csr_array":
    rows = np.concatenate([overlaps.first_K, overlaps.second_K])
    columns = np.concatenate([overlaps.second_K, overlaps.first_K])
    values = np.concatenate([overlaps.product_K, overlaps.product_K.conj()])
    return scipy.sparse.coo_array((values, (rows, columns)), shape=(patches, patches)).tocsr()


def _leading_vector(matrix: "csr_array") -> Complex:
    """Return the eigenvector of the largest eigenvalue; the same bytes on every call."""
    size = matrix.shape[0]
    if size <= _DENSE:
        vector: Complex = np.linalg.eigh(matrix.toarray())[1][:, -1]
        return vector
    stream = np.random.default_rng(0)
    # A generic start: from an exact eigenvector, Lanczos would continue at random.
    start = stream.normal(size=size) + 1j * stream.normal(size=size)
    try:
        vector = scipy.sparse.linalg.eigsh(
            matrix, k=1, which="LA", v0=start, tol=_TOLERANCE, maxiter=20 * size
        )[1][:, 0]
    except scipy.sparse.linalg.ArpackNoConvergence as error:
        vector = error.eigenvectors[:, 0] if error.eigenvectors.size else start * 0 + 1
    return vector
