"""The ground truth of a test scan, as read from the dataset's files, and its twin.

A diffraction pattern stays the same when its exit wave is turned and conjugated: to the twin,
conj(psi[::-1, ::-1]), which leaves probes centred at ((N - 1) / 2, (N - 1) / 2) in place. Where the
probe is symmetric it fits the data as well as the truth does.

Letters: B patches (first channel of each group), M probe modes, I images, H rows, W columns. Modes
are compared as one long vector.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.files import io
from ptycho_torch.physics.stitch import object_patches, patch_positions, tile_extent

Complex = NDArray[np.complex64]
Wave = NDArray[np.complexfloating]
Real = NDArray[np.float64]

# A wave and its twin can be told apart if they correlate less than 1 minus this: ten times what
# photon noise does at 1e9 photons. Under the ideal disk at N=32 half of the patches correlate above
# 0.997 with their own twin; 0.01 would leave 17 of 676 patches to judge by.
DISTINCT = 1e-3
# A patch is on the twin if twin minus direct correlation exceeds this fraction of the largest
# possible difference, that between the truth and its twin. More than 0, the tie of an empty patch
# under a symmetric probe, and less than the 0.45 of a twin that was found.
MARGIN = 0.25
# Patches at a time: what they take stays in the cache, which halves the time.
_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class GroundTruth:
    """What predictions of the test split are compared with.

    Objects are un-normalised; positions are corners of the patches, whole pixels; image_B: which
    image a patch shows; norm: what object amplitudes were divided by; tile_px: side of the tile
    that a patch gives to the stitched image.
    """

    objects_IHW: Complex
    positions_B2: NDArray[np.int64]
    image_B: NDArray[np.int64]
    probe_MHW: Complex
    norm: float
    tile_px: int

    @cached_property
    def patches_BHW(self) -> Complex:
        """Noise-free patches, in units of `norm`, as a network predicts them."""
        side = self.probe_MHW.shape[-1]
        cut: Complex = object_patches(self.objects_IHW, self.positions_B2, self.image_B, side)
        return cut / np.float32(self.norm)

    def images_IHW(self, trim_px: int) -> NDArray[np.complex128]:
        """Return the part of the objects that the tiles cover, less `trim_px` on each side."""
        extent = tile_extent(self.positions_B2, self.probe_MHW.shape[-1], self.tile_px)
        return trim(self.objects_IHW[(slice(None), *extent)].astype(np.complex128), trim_px)


def trim(images_IHW: NDArray[np.complex128], trim_px: int) -> NDArray[np.complex128]:
    """Cut `trim_px` from each side."""
    height, width = images_IHW.shape[1:]
    return images_IHW[:, trim_px : height - trim_px, trim_px : width - trim_px]


def read_truth(test: io.PathLike, dataset: io.PathLike, record: Mapping[str, Any]) -> GroundTruth:
    """Read `test.npz` and `dataset.json`; `InputError` if a file lacks something, or the split is
    not the one that the run with this `run.json` was made with."""
    io.must_have(test, record["dataset_sha256"]["test"])
    arrays = io.read_npz(
        test, "coords_offsets", "coords_nominal", "image_index", "YY_full", "probeGuess", "norm_Y_I"
    )
    objects, probe = arrays["YY_full"][..., 0], arrays["probeGuess"]
    return GroundTruth(
        objects_IHW=objects,
        positions_B2=patch_positions(arrays["coords_offsets"], arrays["coords_nominal"]),
        image_B=arrays["image_index"].astype(np.int64),
        probe_MHW=probe.reshape(-1, *probe.shape[-2:]),
        norm=float(arrays["norm_Y_I"]),
        tile_px=int(io.read_json(dataset)["test_step_px"]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinReading:
    """What the twin test found; None where no patch can say.

    share: of the distinct patches, those that can tell truth from twin, that is closer to the twin.
    Correlations are medians over patches, of the predicted exit wave with the true one (direct),
    with the true one's twin, and the larger of the two (best).
    """

    share: float | None
    distinct_patches: int
    patches: int
    direct_correlation: float | None
    twin_correlation: float | None
    best_correlation: float | None


def read_twin(pred_BHW: Wave, truth: GroundTruth) -> TwinReading:
    """Compare predicted patches with the truth and with its twin."""
    direct, twin, truth_twin = wave_correlations(truth.patches_BHW, pred_BHW, truth.probe_MHW)
    distinct = np.isfinite(direct) & (truth_twin < 1 - DISTINCT)
    on_twin = distinct & (twin - direct > MARGIN * (1 - truth_twin))
    count = int(distinct.sum())
    return TwinReading(
        share=int(on_twin.sum()) / count if count else None,
        distinct_patches=count,
        patches=len(pred_BHW),
        direct_correlation=_median(direct),
        twin_correlation=_median(twin),
        best_correlation=_median(np.maximum(direct, twin)),
    )


def wave_correlations(truth_BHW: Wave, pred_BHW: Wave, probe_MHW: Wave) -> Real:
    """Correlate exit waves patch by patch; a patch's scale and phase do not matter.

    Return (3, B), 0 to 1: prediction with truth, prediction with the truth's twin, and truth with
    its own twin; NaN where a wave is zero or not finite.
    """
    found = np.full((3, len(truth_BHW)), np.nan)
    for start in range(0, len(truth_BHW), _BATCH):
        batch = slice(start, start + _BATCH)
        truth = _unit_waves(truth_BHW[batch], probe_MHW)
        pred = _unit_waves(pred_BHW[batch], probe_MHW)
        twin = truth[..., ::-1, ::-1].conj()
        pairs = ((truth, pred), (twin, pred), (truth, twin))
        for row, (first, second) in enumerate(pairs):
            found[row, batch] = np.abs(np.einsum("bmhw,bmhw->b", first.conj(), second))
    return found


def _unit_waves(patches_BHW: Wave, probe_MHW: Wave) -> NDArray[np.complex128]:
    """Return exit waves (B, M, H, W) of unit norm; NaN where that is impossible."""
    largest = np.abs(patches_BHW).max(axis=(1, 2), keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        # By inverses, since dividing a complex number by a real one is a complex division.
        wave = (patches_BHW * (1 / largest))[:, None] * probe_MHW.astype(np.complex128)
        norm = np.sqrt((np.abs(wave) ** 2).sum(axis=(1, 2, 3), keepdims=True))
        return np.asarray(wave * (1 / norm))


def _median(values: Real) -> float | None:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else None
