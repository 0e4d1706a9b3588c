"""Scores without a truth, held against cases whose truth is known."""

import json

import numpy as np
import pytest
from scipy.ndimage import fourier_shift
from tests.samples import rough_object

from ptycho_torch.data.read import read_scan
from ptycho_torch.data.scan import Scan
from ptycho_torch.data.write import PARTS
from ptycho_torch.evaluate.real_data import (
    ObjectEstimate,
    common_box,
    evaluate_measurement,
    read_estimates,
)
from ptycho_torch.evaluate.scores import MARGIN_PX, register
from ptycho_torch.files import io
from ptycho_torch.physics.predict import r_factor
from ptycho_torch.physics.stitch import object_patches
from ptycho_torch.runtime.errors import InputError


def true_estimate(scan):
    light = np.ones(scan.object_YX.shape, np.float32)
    return ObjectEstimate(scan.object_YX.astype(np.complex64), light, scan.probe_MHW)


def test_the_r_factor_of_the_truth_is_the_noise(truth):
    """Without noise it is 0; with it, what E|sqrt(K) - sqrt(m)| gives, drawn independently."""
    exact, noisy = truth.scan, np.sqrt(truth.counts)
    found = true_estimate(exact).predict(exact, 0.01)
    assert r_factor(found, exact.amplitude_nHW) < 1e-4
    other = np.random.default_rng(99).poisson(truth.mean)
    expected = np.abs(np.sqrt(other) - np.sqrt(truth.mean)).sum() / np.sqrt(other).sum()
    assert r_factor(found, noisy) == pytest.approx(expected, rel=0.02)
    assert r_factor(0 * found, noisy) == 1


def test_what_is_not_lit_is_its_mean_and_frames_there_are_told(truth):
    exact = truth.scan
    estimate = true_estimate(exact)
    half = estimate.light_YX.copy()
    half[:, half.shape[1] // 2 :] = 0
    dark = ObjectEstimate(np.where(half > 0, estimate.object_YX, 77), half, exact.probe_MHW)
    shares = dark.lit_shares(exact, 0.5)
    left = exact.positions_n2[:, 1] < 3
    right = exact.positions_n2[:, 1] > half.shape[1] // 2 + 1
    assert shares[left].min() == pytest.approx(1) and shares[right].max() == 0
    predicted, observed = dark.predict(exact, 0.5), exact.amplitude_nHW
    assert r_factor(predicted[left], observed[left]) < 1e-4
    assert 0.02 < r_factor(predicted[right], observed[right]) < 1


def test_the_box_is_the_largest_rectangle_lit_in_all():
    """On one canvas, wherever the objects of the parts lie."""
    light = np.zeros((60, 70), np.float32)
    light[5:45, 10:60] = 1
    light[20:22, 55:60] = 0
    frames, places = np.ones((2, 8, 8), np.float32), np.array([[-3.0, 4], [50, 60]])
    scan = Scan(source="none", amplitude_nHW=frames, positions_n2=places)

    def box(origin):
        arrays = {"b_light": np.ones_like(light), "b_origin": np.array(origin), "a_light": light,
                  "a_origin": np.zeros(2, int), "a_probe": None, "b_probe": None,
                  "a_object": np.full((60, 70), 2j), "b_object": np.full((60, 70), 3j)}  # fmt: skip
        (found,) = read_estimates({"a": scan, "b": scan}, arrays)
        side = common_box(list(found.values()), 0.5)
        first = np.array([part.start for part in side]) + found["b"].origin
        rows, columns = (slice(s.start - MARGIN_PX, s.stop + MARGIN_PX) for s in side)
        return first.tolist(), found["b"].object_YX[rows, columns]

    first, margin = box((-4, 12))
    assert first == [5, 12] and margin.shape == (40 + 16, 43 + 16)
    assert (margin == np.where(np.arange(59) < 8, 1, 3j)).all()
    with pytest.raises(InputError, match="in common"):
        box((40, 0))


@pytest.mark.parametrize("shift", [(0.4, -0.7), (3.0, 2.25)])
def test_registration_removes_shift_tilt_and_factor_together(shift):
    """A tilt biases the shift that is found: without its removal the shift is wrong."""
    side = 96 + 2 * MARGIN_PX
    wide = rough_object((side, side))
    moved = np.fft.ifft2(fourier_shift(np.fft.fft2(wide), np.negative(shift)))
    tilt = np.exp(1j * (0.02 * np.arange(side)[:, None] - 0.01 * np.arange(side)[None]))
    inner = (slice(MARGIN_PX, -MARGIN_PX),) * 2
    image, shift_px = register(wide[inner], 0.3j * moved * tilt, free="all")
    assert shift_px == pytest.approx(shift, abs=0.02)
    middle = (slice(8, -8),) * 2
    assert np.abs(image - wide[inner])[middle].mean() / np.abs(wide).mean() < 0.02


@pytest.fixture(scope="module")
def metrics(results):
    return {
        name: json.loads((results.folder / "small" / place / "metrics.json").read_text())
        for name, place in (("rpie", "rpie"), ("network", "control/seed-3"))
    }


def test_rpie_predicts_frames_that_it_has_not_seen(metrics, truth):
    """Nearly as well as noise allows, and far better than what knows no object."""
    noise = np.abs(np.sqrt(truth.counts) - np.sqrt(truth.mean)).sum() / np.sqrt(truth.counts).sum()
    assert metrics["rpie"]["baselines"]["noise"] == pytest.approx(noise, rel=0.03)
    found, known = metrics["rpie"]["r_factor"], metrics["rpie"]["baselines"]
    assert metrics["rpie"]["held_out"]["lit_share"] > 0.5
    assert known["noise"] < found["train"] < 2 * known["noise"]
    assert found["held_out_object"] < 0.5 * known["constant_held_out"]
    assert known["constant_train"] == pytest.approx(known["constant_held_out"], rel=0.3)
    assert metrics["rpie"]["agreement"]["contrast_correlation"] == pytest.approx(1)


def test_a_networks_units_are_the_files(results, metrics):
    """What a network knows after two epochs is little, but never a wrong scale: R stays near that
    of a constant, and its power is the frames'."""
    assert metrics["network"]["r_factor"]["held_out_patch"] < 0.8
    arrays = io.read_npz(results.folder / "small/control/seed-3/objects.npz")
    standard = io.read_npz(results.folder / "small/rpie/objects.npz")
    shape = [abs(a["train_probe"]) / np.linalg.norm(a["train_probe"]) for a in (arrays, standard)]
    np.testing.assert_allclose(*shape, atol=1e-5)


def scored(folder, place, rpie):
    """Score the objects and the report in a place, beside rPIE's."""
    evaluate_measurement(
        objects=place / "objects.npz",
        report=place / "report.json",
        rpie=rpie,
        parts={part: folder / f"frames/{part}.npz" for part in PARTS},
        outputs={"metrics": place / "metrics.json", "curves": place / "curves.npz"},
    )
    return json.loads((place / "metrics.json").read_text())


def test_an_object_of_rpie_that_is_not_finite_has_no_scores_and_no_noise(results, tmp_path):
    folder = results.folder / "small"
    arrays = dict(io.read_npz(folder / "rpie/objects.npz"))
    arrays["train_object"][:] = np.nan
    io.write_npz(tmp_path / "objects.npz", arrays)
    io.write_json(tmp_path / "report.json", io.read_json(folder / "rpie/report.json"))
    found = scored(folder, tmp_path, rpie=tmp_path / "objects.npz")
    assert found["baselines"]["noise"] is found["r_factor"]["train"] is None
    assert found["agreement"]["amplitude_ssim"] is None


def test_a_perfect_networks_scores_are_those_of_rpie(results, tmp_path):
    """rPIE's own object, handed over as a network's in other units, scores the same."""
    folder = results.folder / "small"
    arrays = dict(io.read_npz(folder / "rpie/objects.npz"))
    for part in PARTS[:-1]:
        arrays[f"{part}_object"] = arrays[f"{part}_object"] * np.complex64(3j)
        arrays[f"{part}_probe"] = arrays[f"{part}_probe"] / np.complex64(3)
    held = read_scan(folder / "frames/held_out.npz")
    corners = np.rint(held.positions_n2).astype(int) - arrays["train_origin"]
    thing, side = np.pad(arrays["train_object"], held.patch_px)[None], held.patch_px
    patches = object_patches(thing, corners + side, np.zeros(len(corners), int), side)
    arrays["held_out_probe"] = arrays["train_probe"]
    arrays["held_out_patches"] = patches.astype(np.complex64)
    arrays["held_out_members"] = np.arange(len(held))
    io.write_npz(tmp_path / "objects.npz", arrays)
    report = {"engine": "network", "outcome": "completed", "failure": None}
    io.write_json(tmp_path / "report.json", report)
    found = scored(folder, tmp_path, rpie=folder / "rpie/objects.npz")
    known = json.loads((folder / "rpie/metrics.json").read_text())
    for key in ("train", "held_out_object"):
        assert found["r_factor"][key] == pytest.approx(known["r_factor"][key], rel=1e-3)
    assert found["agreement"]["contrast_correlation"] == pytest.approx(1, abs=1e-4)
    assert found["agreement"]["amplitude_ssim"] == pytest.approx(1, abs=1e-3)
    # Patches are on the frames' own pixels; these are up to half a pixel off.
    assert found["r_factor"]["held_out_patch"] < 1.5 * known["baselines"]["constant_held_out"]
