"""Every metric under images that are swapped, scaled, turned, moved, constant, broken or absent.

What has no law here fails: the metrics are found in the code by their arguments, whose names end in
the letters of a shape.
"""

import dataclasses
import importlib
import inspect
import math
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ptycho_torch import evaluate
from ptycho_torch.config.evaluation import EvaluationSettings
from ptycho_torch.dumps.parity import amplitude_difference
from ptycho_torch.evaluate import align, frc, layers, real_data, scores
from ptycho_torch.evaluate.block import reconstruct, score
from ptycho_torch.evaluate.register import MARGIN_PX, register
from ptycho_torch.evaluate.scene import read_scene
from ptycho_torch.evaluate.twin import read_twin, wave_correlations
from ptycho_torch.measurements.scan import Scan

SIDE = 24


def smooth(seed):
    """Complex, with a mean modulus near 2 and phases that vary by about a radian."""
    random = np.random.default_rng(seed)
    amplitude, phase = (gaussian_filter(random.normal(size=(SIDE, SIDE)), 2) for _ in range(2))
    return (2 + 4 * amplitude) * np.exp(4j * phase)


TRUTH = smooth(0)
PRED = TRUTH + 0.2 * smooth(1) + 0.3 * np.random.default_rng(2).normal(size=TRUTH.shape)


@dataclass(frozen=True, kw_only=True)
class Laws:
    """How a metric must behave; `of(truth, prediction)` is a number, or None where undefined.

    best: what a perfect prediction scores, None if that is not defined. higher: whether more is
    better; None: it is no score but an estimate. symmetric: the same with both swapped; the other
    three name what scaling by 3, turning by 0.7 rad and adding 0.5 do: nothing ("same"), "worse",
    or a function of the value before. constant: of a constant prediction.
    """

    of: Callable
    best: float | None
    higher: bool | None
    symmetric: bool
    scaled: str | Callable = "worse"
    turned: str | Callable = "same"
    added: str | Callable = "worse"
    constant: str | float | None = "worse"


def number(score):
    return None if isinstance(score, scores.Undefined) else score


def kind(name):
    return lambda truth, pred: number(scores.image_scores(abs(truth), abs(pred))[name])


def scan_of(amplitude_HW):
    return Scan(
        source="t",
        amplitude_nHW=amplitude_HW[None].astype(np.float64),
        positions_n2=np.zeros((1, 2)),
    )


def r_factor(truth, pred):
    return layers.r_factor(layers.frame_errors(abs(pred)[None], scan_of(abs(truth))))


def registered(free):
    """Relative distance that is left after registration of the prediction, given a margin."""

    def of(truth, pred):
        moved = register(truth, np.pad(pred, MARGIN_PX, mode="wrap"), free=free).image_HW
        left = float(np.linalg.norm(moved - truth) / np.linalg.norm(truth))
        return left if math.isfinite(left) else None

    return of


def phases_apart(truth, pred):
    one, other = align.aligned_phases(truth, pred)
    apart = float(np.abs(np.angle(np.exp(1j * (one - other)))).mean())
    return apart if math.isfinite(apart) else None


def plane_size(truth, pred):
    size = float(np.abs(align.phase_plane(truth, pred)).max())
    return size if math.isfinite(size) else None


def curve_mean(truth, pred):
    return float(frc.ring_correlation(truth, pred).mean())


def known(value):
    return value if value is not None and math.isfinite(value) else None


def likeness(name):
    return lambda truth, pred: real_data._likeness(truth, pred)[name]


METRICS = {
    "image_scores.ssim": Laws(of=kind("ssim"), best=1, higher=True, symmetric=False),
    "image_scores.mae": Laws(of=kind("mae"), best=0, higher=False, symmetric=True),
    "image_scores.psnr_db": Laws(of=kind("psnr_db"), best=None, higher=True, symmetric=False),
    "image_scores.pearson_r": Laws(
        of=kind("pearson_r"), best=1, higher=True, symmetric=True, scaled="same", added="any",
        constant=None,
    ),
    "image_scores.std_ratio": Laws(
        of=kind("std_ratio"), best=1, higher=None, symmetric=False, scaled=lambda v: 3 * v,
        added="any", constant=0.0,
    ),
    "image_scores.frc_half": Laws(
        of=kind("frc_half"), best=0.5, higher=True, symmetric=True, scaled="same", added="any",
        constant=None,
    ),
    "image_scores.frc_seventh": Laws(
        of=kind("frc_seventh"), best=0.5, higher=True, symmetric=True, scaled="same", added="any",
        constant=None,
    ),
    "ssim": Laws(
        of=lambda t, p: number(scores.ssim(abs(t), abs(p))), best=1, higher=True, symmetric=False
    ),
    "amplitude_factor": Laws(
        of=lambda t, p: known(align.amplitude_factor(abs(t), abs(p))), best=1, higher=None,
        symmetric=False, scaled=lambda v: v / 3, added="any", constant="any",
    ),
    "phase_offset": Laws(
        of=lambda t, p: known(align.phase_offset(t, p)), best=0, higher=None, symmetric=False,
        scaled="same", turned=lambda v: v + 0.7, added="any", constant="any",
    ),
    "phase_plane": Laws(
        of=plane_size, best=0, higher=None, symmetric=True, scaled="same", added="any",
        constant="any",
    ),
    "aligned_phases": Laws(
        of=phases_apart, best=0, higher=False, symmetric=True, scaled="same"
    ),
    "complex_error": Laws(
        of=lambda t, p: known(align.complex_error(t, p)), best=0, higher=False, symmetric=True,
        scaled="same",
    ),
    "ring_correlation": Laws(
        of=curve_mean, best=1, higher=True, symmetric=True, scaled="same", turned="worse",
        added="same",
    ),
    "_correlation": Laws(
        of=real_data._correlation, best=1, higher=True, symmetric=True, scaled="same",
    ),
    "_likeness.correlation": Laws(
        of=likeness("correlation"), best=1, higher=True, symmetric=True, scaled="same",
    ),
    "_likeness.contrast_correlation": Laws(
        of=likeness("contrast_correlation"), best=1, higher=True, symmetric=True, scaled="same",
        added="same", constant="any",
    ),
    "_likeness.amplitude_ssim": Laws(
        of=likeness("amplitude_ssim"), best=1, higher=True, symmetric=False
    ),
    "_likeness.phase_ssim": Laws(
        of=likeness("phase_ssim"), best=1, higher=True, symmetric=False, scaled="same"
    ),
    "r_factor": Laws(of=r_factor, best=0, higher=False, symmetric=False),
    "register.phase": Laws(of=registered("phase"), best=0, higher=False, symmetric=False),
    "register.all": Laws(
        of=registered("all"), best=0, higher=False, symmetric=False, scaled="same"
    ),
    "amplitude_difference": Laws(
        of=lambda t, p: amplitude_difference(t[None], p[None]), best=0, higher=False,
        symmetric=False,
    ),
}  # fmt: skip
EVERY = pytest.mark.parametrize("laws", METRICS.values(), ids=METRICS)

# By whom the laws of other functions on images are held.
ELSEWHERE = {
    "crossing": "test_a_curve_without_numbers_resolves_nothing",
    "frame_errors": "r_factor",
    "overlaps_of": "test_block_laws",
    "compare_overlaps": "test_block_laws",
    "reconstruct": "test_block_laws",
    "wave_correlations": "test_block_laws",
    "read_twin": "test_block_laws",
    "turn_back": "test_twin: an involution where the probe is bright",
    "trim": "no metric: it cuts",
}


def functions_on_images():
    """Public functions of `evaluate` with an argument whose name ends in letters of a shape."""
    for module in pkgutil.iter_modules(evaluate.__path__):
        found = importlib.import_module(f"ptycho_torch.evaluate.{module.name}")
        for name, function in inspect.getmembers(found, inspect.isfunction):
            arguments = inspect.signature(function).parameters
            shaped = any(re.search(r"_[A-Zn][A-Zn0-9]*$", name) for name in arguments)
            if function.__module__ == found.__name__ and shaped and not name.startswith("_"):
                yield name


def test_every_metric_has_its_laws():
    names = {name.split(".")[0] for name in METRICS}
    assert set(functions_on_images()) - names - set(ELSEWHERE) == set()
    assert {f"image_scores.{one}" for one in scores.KINDS} <= set(METRICS)
    said = {f"_likeness.{key}" for key in real_data._likeness(TRUTH, PRED)}
    assert said <= set(METRICS)


def worse(laws, value, than):
    return value is None or (value < than - 1e-6 if laws.higher else value > than + 1e-6)


def check(laws, law, value, before):
    if callable(law):
        assert value == pytest.approx(law(before), rel=1e-6)
    elif law == "same":
        assert value == pytest.approx(before, rel=1e-5, abs=1e-6)
    elif law == "worse":
        assert worse(laws, value, before)


@EVERY
def test_a_perfect_image_scores_best_and_others_less(laws):
    value, of_pred = laws.of(TRUTH, TRUTH), laws.of(TRUTH, PRED)
    assert value is None if laws.best is None else value == pytest.approx(laws.best, abs=1e-5)
    if laws.higher is not None:
        best = value if value is not None else math.inf
        assert worse(laws, of_pred, best)
        assert worse(laws, laws.of(TRUTH, smooth(7)), of_pred)


@EVERY
def test_swapping_truth_and_prediction(laws):
    swapped = laws.of(PRED, TRUTH)
    same = swapped == pytest.approx(laws.of(TRUTH, PRED), rel=1e-6, abs=1e-9)
    assert same == laws.symmetric


@EVERY
def test_scaling_turning_and_adding(laws):
    before = laws.of(TRUTH, PRED)
    check(laws, laws.scaled, laws.of(TRUTH, 3 * PRED), before)
    check(laws, laws.turned, laws.of(TRUTH, PRED * np.exp(0.7j)), before)
    check(laws, laws.added, laws.of(TRUTH, PRED + 1.5), before)


@EVERY
def test_a_moved_image_scores_less_unless_it_is_registered(laws):
    if laws.higher is None or laws.of is METRICS["register.all"].of:
        return
    assert worse(laws, laws.of(TRUTH, np.roll(PRED, 3, axis=0)), laws.of(TRUTH, PRED))


@EVERY
def test_a_constant_image_scores_less(laws):
    value = laws.of(TRUTH, np.full_like(TRUTH, TRUTH.mean()))
    if laws.constant == "worse":
        assert worse(laws, value, laws.of(TRUTH, PRED))
    elif laws.constant != "any":
        assert value == (None if laws.constant is None else pytest.approx(laws.constant, abs=1e-6))


@EVERY
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
@pytest.mark.parametrize("where", ["a pixel", "everywhere"])
@pytest.mark.parametrize("broken", ["prediction", "truth"])
def test_broken_images_have_no_score_or_the_worst(laws, bad, where, broken):
    """Undefined, refused, or as bad as an image that has nothing to do with the truth."""
    image = (PRED if broken == "prediction" else TRUTH).copy()
    image[(5, 6) if where == "a pixel" else ...] = bad
    pair = (TRUTH, image) if broken == "prediction" else (image, PRED)
    with np.errstate(all="ignore"):
        try:
            value = laws.of(*pair)
        except (ValueError, np.linalg.LinAlgError):
            return
    if laws.higher is None and where == "everywhere" and not np.isfinite(bad):
        assert value is None
    if value is not None and laws.higher is not None:
        assert math.isfinite(value) or not laws.higher
        assert worse(laws, value, laws.of(TRUTH, PRED))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_broken_truth_is_said_to_be_the_truth(bad):
    truth = abs(TRUTH)
    truth[3, 4] = bad
    assert set(scores.image_scores(truth, abs(PRED)).values()) == {scores.BROKEN_TRUTH}
    assert scores.ssim(truth, abs(PRED)) == scores.BROKEN_TRUTH


@EVERY
@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_an_empty_image_has_no_score(laws):
    nothing = np.zeros((0, 0), complex)
    with np.errstate(all="ignore"):
        try:
            value = laws.of(nothing, nothing)
        except (ValueError, IndexError):
            return
    assert value is None or laws.higher is None


@pytest.fixture(scope="module")
def scene(tiny_dataset):
    return read_scene(tiny_dataset.splits["test"], tiny_dataset.dataset)


def judged(scene, patches):
    """Every number that a run is judged by, of one set of patches; None where undefined."""
    with np.errstate(all="ignore"):
        found = score(reconstruct(patches.astype(np.complex64), scene, EvaluationSettings()))
        waves = wave_correlations(scene.truth_patches_BHW, patches, scene.probe_MHW)
        where = (scene.positions_B2, scene.image_B)
        twin = read_twin(waves, patches, *where, scene.probe_MHW)
    return {name: number(value) for name, value in found.items()} | dataclasses.asdict(twin)


COUNTS = {"patches", "distinct_patches", "truth_twin_correlation"}
SCALED = {"amplitude_factor"}


def test_block_laws(scene):
    """A run's patches, all scaled and turned alike, are the same reconstruction."""
    truth = scene.truth_patches_BHW
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
    found = judged(scene, np.full_like(scene.truth_patches_BHW, bad))
    for name in found.keys() - COUNTS:
        if bad == 0.0 and found[name] is not None:
            good = judged(scene, scene.truth_patches_BHW)[name]
            worse_by = ("mae", "error", "error_synchronised", "factor", "share")
            assert found[name] > (good or 0) if name.endswith(worse_by[:3]) else True, name
            if name.endswith(("ssim", "ssim_reassembled")):
                assert found[name] < 0.6, name
        elif bad != 0.0:
            assert found[name] is None, name


def test_one_broken_patch_leaves_no_score_of_the_image(scene):
    patches = scene.truth_patches_BHW.copy()
    patches[len(patches) // 2, 7, 7] = np.nan
    found = judged(scene, patches)
    assert found["amplitude_ssim"] is found["complex_error"] is found["amplitude_factor"] is None


def test_a_curve_without_numbers_resolves_nothing():
    frequencies = frc.ring_frequencies((8, 8))
    assert frc.crossing(frequencies, np.full(4, np.nan)) < frequencies[0]
    assert frc.crossing(frequencies, np.array([1, np.nan, 1, 1])) < frequencies[1]
    assert frc.crossing(frequencies[:0], np.zeros(0)) == 0.0
    assert frc.crossing(frequencies, np.ones(4)) == frc.NYQUIST
