"""All scores of a run's patches together, under patches that are scaled, turned, constant or broken."""

import dataclasses

import numpy as np
import pytest

from ptycho_torch.config.evaluation import EvaluationSettings
from ptycho_torch.evaluate.block import reconstruct, score
from ptycho_torch.evaluate.scores import value_of
from ptycho_torch.evaluate.truth import read_truth
from ptycho_torch.evaluate.twin import read_twin


@pytest.fixture(scope="module")
def scene(tiny_dataset):
    return read_truth(tiny_dataset.splits["test"], tiny_dataset.dataset)


def judged(scene, patches):
    """Every number that a run is judged by, of one set of patches; None where undefined."""
    with np.errstate(all="ignore"):
        found = score(reconstruct(patches.astype(np.complex64), scene, EvaluationSettings()))
        twin = read_twin(patches, scene)
    return {name: value_of(value) for name, value in found.items()} | dataclasses.asdict(twin)


COUNTS = {"patches", "distinct_patches", "truth_twin_correlation"}
SCALED = {"amplitude_factor"}


def test_block_laws(scene):
    """A run's patches, all scaled and turned alike, are the same reconstruction."""
    truth = scene.patches_BHW
    noise = np.random.default_rng(0).normal(size=(2, *truth.shape))
    pred = truth * (1 + 0.2 * noise[0] + 0.2j * noise[1])
    before, after = judged(scene, pred), judged(scene, 3 * pred * np.exp(0.7j))
    for name, value in before.items():
        expected = value / 3 if name in SCALED else value
        assert after[name] == pytest.approx(expected, rel=2e-3, abs=2e-4), name
    best = judged(scene, truth)
    for name in before.keys() - COUNTS - SCALED:
        if name.endswith(("mae", "error", "error_synchronised")) or name == "share":
            assert best[name] <= before[name] + 1e-6, name
        elif not name.endswith(("std_ratio", "twin_correlation", "overlap_twin")):
            assert best[name] is None or best[name] >= before[name] - 1e-6, name


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_a_block_of_broken_or_empty_patches_has_no_good_score(scene, bad):
    """Zeros have the scores of a constant image; what is not finite has none."""
    found = judged(scene, np.full_like(scene.patches_BHW, bad))
    for name in found.keys() - COUNTS:
        if bad == 0.0 and found[name] is not None:
            good = judged(scene, scene.patches_BHW)[name]
            if name.endswith(("mae", "error", "error_synchronised")):
                assert found[name] > (good or 0), name
            if name.endswith(("ssim", "ssim_reassembled")):
                assert found[name] < 0.6, name
        elif bad != 0.0:
            assert found[name] is None, name


def test_one_broken_patch_leaves_no_score_of_the_image(scene):
    patches = scene.patches_BHW.copy()
    patches[len(patches) // 2, 7, 7] = np.nan
    found = judged(scene, patches)
    assert found["amplitude_ssim"] is found["complex_error"] is found["amplitude_factor"] is None
