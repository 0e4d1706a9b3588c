"""Which patches of two dumps are the same patch, and which of them differ most.

Letters: P patches, H rows, W columns.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.infer.parity.dump import Dump

# Positions closer than this are the same, pixels.
_SAME_PX = 0.01


def differing_patches(first: Dump, second: Dump, *, most: int = 5) -> dict[str, Any]:
    """Return the patches that differ most, each turned by its own free phase; for JSON.

    `paired` counts the pairs, `median_error` and `worst` are of ||A - B|| / ||A|| after the phase
    that fits best; `reason` says why patches could not be paired.
    """
    mine, theirs = first.patches_PHW, second.patches_PHW
    if mine is None or theirs is None:
        return _none("not both dumps have patches")
    if mine.shape[1:] != theirs.shape[1:]:
        return _none(f"patches are {mine.shape[1:]} and {theirs.shape[1:]} px")
    pairs = _pairs(first, second)
    if isinstance(pairs, str):
        return _none(pairs)
    a_K, b_K = pairs
    errors = np.array([_error(mine[a], theirs[b]) for a, b in zip(a_K, b_K, strict=True)])
    # What is not finite differs most of all.
    ranked = np.argsort(-np.where(np.isfinite(errors), errors, np.inf), kind="stable")[:most]
    finite = errors[np.isfinite(errors)]
    return {
        "paired": len(a_K),
        "of": [len(mine), len(theirs)],
        "reason": None,
        "median_error": float(np.median(finite)) if finite.size else None,
        "worst": [_describe(first, second, int(a_K[k]), int(b_K[k]), errors[k]) for k in ranked],
    }


def _none(reason: str) -> dict[str, Any]:
    return {"paired": 0, "of": None, "reason": reason, "median_error": None, "worst": []}


def _pairs(first: Dump, second: Dump) -> tuple[NDArray[np.int64], NDArray[np.int64]] | str:
    assert first.patches_PHW is not None and second.patches_PHW is not None
    mine, theirs = first.positions_P2, second.positions_P2
    if mine is None or theirs is None:
        if len(first.patches_PHW) != len(second.patches_PHW):
            return "positions are not given by both, and the numbers of patches differ"
        order = np.arange(len(first.patches_PHW))
        return order, order
    together = mine.shape == theirs.shape and np.array_equal(_images(first), _images(second))
    if together and np.allclose(mine, theirs, rtol=0, atol=_SAME_PX):
        order = np.arange(len(mine))
        return order, order
    keys = [_keys(dump) for dump in (first, second)]
    if any(len(set(k)) < len(k) for k in keys):
        return "patches lie in another order, and several share a position"
    where = {key: index for index, key in enumerate(keys[1])}
    both = [(index, where[key]) for index, key in enumerate(keys[0]) if key in where]
    if not both:
        return "no patch of A lies where one of B does"
    a_K, b_K = np.array(both, dtype=np.int64).T
    return a_K, b_K


def _keys(dump: Dump) -> list[tuple[int, int, int]]:
    assert dump.positions_P2 is not None
    places = np.rint(dump.positions_P2 / _SAME_PX).astype(np.int64)
    image = _images(dump)
    return [(int(i), int(row), int(column)) for i, (row, column) in zip(image, places, strict=True)]


def _images(dump: Dump) -> NDArray[np.int64]:
    assert dump.patches_PHW is not None
    return np.zeros(len(dump.patches_PHW), np.int64) if dump.image_P is None else dump.image_P


def _error(first_HW: NDArray[Any], second_HW: NDArray[Any]) -> float:
    a, b = first_HW.astype(np.complex128), second_HW.astype(np.complex128)
    if not (np.iscomplexobj(first_HW) and np.iscomplexobj(second_HW)):
        a, b = np.abs(a), np.abs(b)
    with np.errstate(invalid="ignore", divide="ignore"):
        turned = b * np.exp(1j * np.angle(np.vdot(b, a)))
        return float(np.linalg.norm(a - turned) / np.linalg.norm(a))


def _describe(first: Dump, second: Dump, a: int, b: int, error: float) -> dict[str, Any]:
    variances = []
    for dump, index in ((first, a), (second, b)):
        assert dump.statistics is not None
        value = float(dump.statistics["amplitude"]["var_zero_mean"][index])
        variances.append(value if np.isfinite(value) else None)
    positions = first.positions_P2
    return {
        "a": a,
        "b": b,
        "position": None if positions is None else positions[a].tolist(),
        "error": float(error) if np.isfinite(error) else None,
        "var_zero_mean": variances,
    }
