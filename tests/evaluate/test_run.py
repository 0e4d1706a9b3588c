"""A whole evaluation: every kind of prediction gets sensible scores and the right outcome, by each
branch of its rule."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from tests.evaluate.conftest import planted_twin, scan
from tests.report.planted_runs import BLOCK_NAMES

from ptycho_torch.config.evaluation import EvaluationSettings
from ptycho_torch.evaluate.run import decide_outcome
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError

BLOCKS = ("best", "last", "constant", "truth")


def noise(shape):
    stream = np.random.default_rng(0)
    return stream.normal(size=shape) + 1j * stream.normal(size=shape)


def blurred(patches, sigma):
    parts = [gaussian_filter(part, (0, sigma, sigma)) for part in (patches.real, patches.imag)]
    return parts[0] + 1j * parts[1]


@pytest.mark.parametrize("probe", ["disk", "triangle"])
def test_the_truth_scores_best_and_keeps_the_contract(judge, probe):
    scene = scan(probe)
    metrics = judge(scene, scene.patches_BHW, last=blurred(scene.patches_BHW, 2.0))
    assert metrics["outcome"] == "completed"
    assert (metrics["dataset"], metrics["arm"], metrics["seed"]) == ("d", "a", 3)
    assert all(set(metrics[block]) == set(BLOCK_NAMES) for block in BLOCKS)
    ones = ("amplitude_ssim", "phase_ssim", "phase_synchronised_ssim", "amplitude_factor")
    for block in (metrics["best"], metrics["truth"]):
        assert [block[name] for name in ones] == pytest.approx([1.0] * 4, abs=1e-6)
        assert block["complex_error"] < 1e-6
    assert metrics["last"]["amplitude_ssim"] < 0.99
    assert metrics["constant"]["amplitude_ssim"] < 0.5
    assert metrics["constant"]["amplitude_pearson_r"] is None
    assert metrics["undefined"] == {}  # Of the best weights.
    assert len(metrics["frc"]["amplitude"]) == len(metrics["frc"]["cycles_per_px"])


PREDICTIONS = {
    "constant": (lambda p: np.full_like(p, 0.7 + 0.1j), "collapsed"),
    "noise": (lambda p: noise(p.shape), "misfit"),
    "blurred": (lambda p: blurred(p, 4), "completed"),
    "shifted": (lambda p: np.roll(p, 4, axis=-1), "completed"),
}


@pytest.mark.parametrize("name", PREDICTIONS)
def test_a_bad_prediction_never_completes_with_good_scores(judge, name):
    scene = scan("triangle")
    make, outcome = PREDICTIONS[name]
    metrics = judge(scene, make(scene.patches_BHW))
    assert metrics["outcome"] == outcome, metrics["reason"]
    assert metrics["best"]["amplitude_ssim"] < 0.85
    assert metrics["best"]["amplitude_ssim"] < metrics["truth"]["amplitude_ssim"]
    assert metrics["best"]["complex_error"] > 0.02
    assert (metrics["twin"]["share"] or 0.0) < 0.05


def test_a_twin_is_called_so_and_phases_of_patches_are_synchronised(judge):
    scene = scan("disk")
    phases = np.random.default_rng(0).uniform(-3, 3, len(scene.patches_BHW))
    turned = scene.patches_BHW * np.exp(1j * phases)[:, None, None]
    metrics = judge(scene, planted_twin(scene), last=turned)
    assert metrics["outcome"] == "twin" and metrics["best"]["amplitude_ssim"] < 0.6
    assert metrics["last"]["phase_ssim"] < 0.1 and metrics["last"]["complex_error"] > 0.3
    assert metrics["last"]["phase_synchronised_ssim"] > 0.999
    assert metrics["last"]["complex_error_synchronised"] < 1e-3


@pytest.mark.parametrize("outcome", ["exploded", "completed"])
def test_a_run_that_failed_is_a_row(judge, outcome):
    scene = scan()
    pred = scene.patches_BHW.copy()
    pred[5:7], pred[7:9] = np.nan, np.inf
    failure = {"epoch": 1, "step": 2, "reason": "r"} if outcome != "completed" else None
    metrics = judge(scene, pred, outcome=outcome, failure=failure, loss=None)
    assert metrics["outcome"] == {"completed": "non_finite"}.get(outcome, outcome)
    assert metrics["failure"] == failure
    assert set(metrics["best"].values()) == {None}
    for name in ("amplitude_ssim", "complex_error", "amplitude_factor"):
        assert "not finite" in metrics["undefined"][name]
    assert metrics["frc"]["amplitude"] is None
    assert metrics["truth"]["amplitude_ssim"] == pytest.approx(1.0)


def test_a_flat_truth_has_no_phase_scores(judge):
    scene = scan(set_phi=False)
    metrics = judge(scene, scene.patches_BHW)
    for block in BLOCKS:
        nulls = {name for name, value in metrics[block].items() if value is None}
        assert {name for name in metrics[block] if name.startswith("phase")} <= nulls
        assert block != "best" or nulls == {*metrics["undefined"]}
    assert metrics["undefined"]["phase_ssim"] == "not defined: the truth has no phase"
    assert metrics["frc"]["phase"] is None
    assert metrics["best"]["amplitude_ssim"] == pytest.approx(1.0)


def test_every_image_counts(judge, tmp_path):
    """One image right, one shuffled: the score is the mean of both."""
    scene = scan(images=2)
    half = len(scene.patches_BHW) // 2
    pred = scene.patches_BHW.copy()
    pred[half:] = np.random.default_rng(0).permutation(pred[half:])
    metrics = judge(scene, pred)
    assert 0.45 < metrics["best"]["amplitude_ssim"] < 0.75
    assert metrics["truth"]["amplitude_ssim"] == pytest.approx(1.0)
    images = io.read_npz(tmp_path / "reconstruction.npz")
    assert images["amplitude"].shape == (2, 61, 61)


def test_the_images_are_aligned_and_trimmed_and_the_same_each_time(judge, tmp_path):
    scene = scan()
    files = []
    for _ in range(2):
        judge(scene, 5j * scene.patches_BHW, settings={"trim_px": 4})
        files.append([(tmp_path / f).read_bytes() for f in ("metrics.json", "reconstruction.npz")])
    assert files[0] == files[1]
    images = io.read_npz(tmp_path / "reconstruction.npz")
    truth = scene.objects_IHW[0, 13:78, 13:78][4:-4, 4:-4]
    assert {image.dtype for image in images.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(images["amplitude"][0], np.abs(truth), rtol=1e-5)
    np.testing.assert_allclose(images["truth_amplitude"][0], np.abs(truth), rtol=1e-6)
    for name in ("phase", "phase_synchronised", "truth_phase"):
        np.testing.assert_allclose(images[name][0], np.angle(truth), atol=1e-4)


def test_files_of_another_run_and_too_small_an_image_are_refused(judge):
    with pytest.raises(InputError, match="belongs to other files"):
        judge(scan(), scan().patches_BHW, dataset_sha256={"test": "0"})
    with pytest.raises(InputError, match=r"'best' is \(.*expected complex"):
        judge(scan(), scan().patches_BHW[:, 1:])
    with pytest.raises(InputError, match="of 5 x 5 px is too small .* evaluation.trim_px smaller"):
        judge(scan(), scan().patches_BHW, settings={"trim_px": 30})


READING = {
    "share": 0.1, "distinct_patches": 90, "patches": 100, "direct_correlation": 0.98,
    "twin_correlation": 0.7, "best_correlation": 0.98,
}  # fmt: skip
TWIN = {
    "share": 0.9, "direct_correlation": 0.7, "twin_correlation": 0.96, "best_correlation": 0.96
}  # fmt: skip


def decide(
    *, settings=None, twin=None, loss=0.08, outcome="completed", failure=None, error=0.1,
    ratio=0.95, pearson=0.97, broken=0,
):  # fmt: skip
    return decide_outcome(
        {"outcome": outcome, "failure": failure, "best_mae_val_loss": loss},
        {"amplitude_std_ratio": ratio, "amplitude_pearson_r": pearson, "complex_error": error},
        READING | (twin or {}),
        EvaluationSettings(**(settings or {})),
        broken_patches=broken,
        constant_loss=0.289,
        constant_error=0.398,
    )


FAILURE = {"epoch": 3, "step": 41, "reason": "loss 9.9 is over 5 times its start"}
BLOWN = {"outcome": "exploded", "failure": FAILURE, "ratio": 0.0, "broken": 9}


@pytest.mark.parametrize(
    ("changed", "outcome", "numbers"),
    [
        ({}, "completed", ""),
        ({"ratio": 0.09}, "collapsed", "0.09 0.1"),
        ({"ratio": 0.11}, "completed", ""),
        ({"ratio": 0.01, "pearson": 0.1, "twin": TWIN}, "collapsed", "0.01"),
        ({"twin": TWIN}, "twin", "0.9 90 0.5"),
        ({"twin": TWIN | {"share": 0.5}}, "completed", ""),
        ({"twin": TWIN | {"twin_correlation": 0.89}}, "completed", ""),
        ({"twin": TWIN | {"distinct_patches": 4}}, "completed", ""),
        ({"twin": {"share": None, "distinct_patches": 0}}, "completed", ""),
        ({"twin": {"best_correlation": 0.89}}, "misfit", "0.89 0.9"),
        ({"twin": {"best_correlation": 0.91}}, "completed", ""),
        ({"loss": 0.2602}, "stagnated", "0.26"),  # Learned nothing: C is 0.289.
        ({"loss": 0.26}, "completed", ""),
        ({"error": 0.398}, "misfit", "0.398"),
        ({"error": "not defined"}, "completed", ""),
        ({"pearson": 0.49, "loss": None}, "misfit", "0.49 0.5"),
        ({"loss": None}, "completed", ""),
        ({"broken": 3, "ratio": "not defined"}, "non_finite", "3 100"),
        (BLOWN, "exploded", "(epoch 3, step 41): loss 9.9 is over 5"),
        ({"settings": {"misfit_correlation": 0.99}}, "misfit", "0.98 0.99"),
    ],
)
def test_outcomes_and_their_reasons_with_numbers_and_thresholds(changed, outcome, numbers):
    found, reason = decide(**changed)
    assert found == outcome
    assert all(number in reason for number in numbers.split())
