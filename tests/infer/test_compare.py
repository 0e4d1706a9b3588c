"""Two dumps held against each other: what passes, what fails, and by which name."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from ptycho_torch.cli import app
from ptycho_torch.data.scales import Scales
from ptycho_torch.infer.parity.compare import compare, comparison_text, write_comparison
from ptycho_torch.infer.parity.dump import Dump
from ptycho_torch.infer.parity.files import write_dump
from ptycho_torch.runtime.errors import InputError

SCALED = [
    "amplitude_var_zero_mean_mean", "amplitude_var_zero_mean_median",
    "complex_var_zero_mean_mean", "complex_var_zero_mean_median", "stitched_rms",
    "amplitude_mae", "complex_mae",
]  # fmt: skip


def values(found):
    return {q.name: q.value for q in found.quantities}


def test_a_dump_agrees_with_itself(made):
    found = compare(made(), made(), tolerance=0.1)
    assert found.passed and not [q for q in found.quantities if q.status != "pass"]
    for name, value in values(found).items():
        expected = 0 if name.endswith("_mae") else 1
        assert value == pytest.approx(expected, abs=1e-6), name


def test_a_scale_of_1_2_fails_by_name_and_of_1_04_passes(made):
    """SSIM drops with it too; scales in force and everything without an amplitude pass."""
    found = compare(made(), made(scale=1.2), tolerance=0.1)
    assert set(SCALED) <= set(found.failed) <= {*SCALED, "amplitude_ssim"}
    seen = values(found)
    assert seen["stitched_rms"] == pytest.approx(1.2, rel=1e-6)
    assert seen["amplitude_var_zero_mean_mean"] == pytest.approx(1.44, rel=1e-5)
    assert seen["amplitude_mae"] == pytest.approx(0.2, rel=1e-5)
    assert found.headline.startswith("FAILED in ")
    assert compare(made(), made(scale=1.04), tolerance=0.1).passed


def test_where_the_scale_is_free_it_is_fitted_and_not_judged(made):
    for found in (
        compare(made(), made(scale=3.0), tolerance=0.1, free_scale=True),
        compare(made(), made(scale=3.0, scale_is_free=True), tolerance=0.1),
    ):
        assert found.passed
        rms = next(q for q in found.quantities if q.name == "stitched_rms")
        assert (rms.status, rms.reason) == ("not judged", "the scale is free")
        assert any("its scale is free" in s for s in found.pair.said)


def test_a_ratio_at_the_very_bound_passes(made):
    scales = Scales(input_scale=1.1)
    found = compare(made(scales=Scales(input_scale=1.0)), made(scales=scales), tolerance=0.1)
    assert found.passed
    beyond = made(scales=Scales(input_scale=1.11))
    assert compare(made(scales=Scales(input_scale=1.0)), beyond, tolerance=0.1).failed == [
        "input_scale"
    ]


@pytest.mark.parametrize("name", ["input_scale", "intensity_scale", "norm_Y_I"])
def test_a_scale_that_one_side_does_not_give_is_named_and_not_judged(made, name):
    there = {"input_scale": 1.0, "intensity_scale": 900.0, "norm_Y_I": 2.0, name: None}
    found = compare(made(), made(scales=Scales(**there)), tolerance=0.1)
    missing = next(q for q in found.quantities if q.name == name)
    assert (missing.status, missing.reason) == ("not judged", "B does not give it")
    assert f"not judged: {name}" in found.headline


def test_a_global_phase_is_free(made):
    found = compare(made(), made(turn=2.0), tolerance=0.01)
    assert found.passed and max(w["error"] for w in found.patches["worst"]) < 1e-6


def test_a_canvas_that_is_cropped_lies_at_its_origin(made):
    """Cut by 5 px; taken as if it began where A does, the image would be another one."""
    found = compare(made(), made(crop=5), tolerance=0.01)
    assert found.passed and found.pair.first_IYX.shape == (1, 19, 19)
    assert "cropped to their overlap of (19, 19) px" in found.pair.said[0]
    wrong = made(crop=5, origin_2=np.array([3.0, 3.0]))
    assert "amplitude_ssim" in compare(made(), wrong, tolerance=0.1).failed
    back = compare(made(crop=5), made(), tolerance=0.01)
    assert back.passed and back.pair.known == 19 * 19


def test_fractions_between_origins_are_said(made):
    found = compare(made(), made(origin_2=np.array([3.2, 3.0])), tolerance=0.1)
    assert "the origins differ by [0.2, 0.0] px, taken as [0, 0]" in found.pair.said


def test_canvases_that_cannot_belong_together_are_refused(made):
    far = made(origin_2=np.array([300.0, 0.0]))
    with pytest.raises(InputError, match="no pixel in common"):
        compare(made(), far, tolerance=0.1)
    with pytest.raises(InputError, match="has no 'origin', and the canvases are"):
        compare(made(origin_2=None), made(crop=2), tolerance=0.1)
    two = made(stitched_IYX=np.ones((2, 24, 24)), patches_PHW=None, positions_P2=None)
    with pytest.raises(InputError, match="has 2 stitched images, made has 1"):
        compare(made(), two, tolerance=0.1)
    with pytest.raises(InputError, match="are both in pixels"):
        compare(made(), made(origin_2=np.array([1e9, 0])), tolerance=0.1)
    with pytest.raises(InputError, match="between 0 and 1, got 10"):
        compare(made(), made(), tolerance=10)


def test_what_one_side_did_not_see_does_not_count(made):
    holed = made()
    holed.stitched_IYX[0, :10, :6] = np.nan
    other = made()
    other.stitched_IYX[0, :10, :6] *= 50
    found = compare(holed, other, tolerance=0.01)
    assert found.passed and found.pair.known == 24 * 24 - 60


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.ones((1, 24, 24)), "A is constant"),
        (np.zeros((1, 24, 24)), "A is zero everywhere"),
        (np.full((1, 24, 24), np.nan), "no pixel is known in both"),
    ],
)
def test_an_image_that_shows_nothing_has_not_passed(made, image, reason):
    """A constant image agrees with every other one; that is no parity."""
    empty = made(stitched_IYX=image)
    found = compare(empty, empty, tolerance=0.1)
    ssim = next(q for q in found.quantities if q.name == "amplitude_ssim")
    assert (ssim.status, ssim.value) == ("fail", None) and reason in ssim.reason
    json.dumps(found.record(), allow_nan=False)


def test_patches_with_nan_fail_and_lead_the_list(made):
    broken = made().patches_PHW.copy()
    broken[7, 2, 2] = np.nan
    broken[3] *= 3
    found = compare(made(), made(patches_PHW=broken), tolerance=0.1)
    assert "amplitude_var_zero_mean_mean" in found.failed
    assert [(w["a"], w["error"]) for w in found.patches["worst"][:2]] == [
        (7, None), (3, pytest.approx(2)),
    ]  # fmt: skip
    assert found.patches["median_error"] == pytest.approx(0, abs=1e-6)


def test_patches_are_paired_by_place_in_any_order(made):
    dump = made()
    order = np.random.default_rng(0).permutation(25)
    mixed = made(patches_PHW=dump.patches_PHW[order], positions_P2=dump.positions_P2[order])
    found = compare(dump, mixed, tolerance=0.01)
    assert found.patches["paired"] == 25
    assert max(w["error"] for w in found.patches["worst"]) < 1e-6
    less = made(patches_PHW=dump.patches_PHW[:9], positions_P2=dump.positions_P2[:9])
    assert compare(dump, less, tolerance=0.5).patches["paired"] == 9
    without = made(patches_PHW=dump.patches_PHW[:9], positions_P2=None)
    assert "numbers of patches differ" in compare(dump, without, tolerance=0.5).patches["reason"]
    twice = made(positions_P2=np.zeros((25, 2)))
    assert "share a position" in compare(dump, twice, tolerance=0.5).patches["reason"]


def test_amplitudes_alone_are_compared_with_a_complex_image(made):
    dump = made()
    plain = made(
        stitched_IYX=np.abs(dump.stitched_IYX), patches_PHW=np.abs(dump.patches_PHW)
    )  # fmt: skip
    found = compare(dump, plain, tolerance=0.01)
    assert found.passed and "complex_mae" not in values(found)
    assert any("one image has no phase" in s for s in found.pair.said)


def test_the_phase_counts_where_both_have_one(made):
    flat = made()
    flat = made(stitched_IYX=np.abs(flat.stitched_IYX).astype(complex))
    failed = compare(made(), flat, tolerance=0.1).failed
    assert failed == ["complex_mae"]


@pytest.fixture(scope="module")
def folders(made, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("dumps")
    for name, dump in {"a": made(), "same": made(crop=3), "scaled": made(scale=1.2)}.items():
        write_dump(tmp_path / name, dump, shown=2)
    return tmp_path


@pytest.mark.parametrize(("second", "status"), [("same", 0), ("scaled", 2), ("nowhere", 1)])
def test_the_command_says_it_by_its_exit_status(folders, second, status, tmp_path):
    out = tmp_path / "out"
    words = ["compare", str(folders / "a"), str(folders / second), "--output-dir", str(out)]
    result = CliRunner().invoke(app, words)
    if status == 1:
        assert isinstance(result.exception, InputError) and not out.exists()
        return
    assert result.exit_code == status
    assert ("passed in all" if status == 0 else "FAILED in") in result.stdout
    record = json.loads((out / "compare.json").read_text())
    assert record["passed"] is (status == 0)
    assert (out / "compare.md").read_text().strip() == result.stdout.strip()
    assert (out / "compare.png").stat().st_size > 5000


def test_tolerance_and_free_scale_reach_the_comparison(folders):
    words = ["compare", str(folders / "a"), str(folders / "scaled")]
    words += ["--output-dir", str(folders / "out")]
    assert CliRunner().invoke(app, [*words, "--tolerance", "0.5"]).exit_code == 0
    assert CliRunner().invoke(app, [*words, "--free-scale"]).exit_code == 0


def test_two_images_are_compared_image_by_image(tmp_path):
    """Each has a phase of its own; one for both would not align them."""
    stream = np.random.default_rng(0)
    images = 1 + stream.random((2, 12, 12)) + 0.3j
    first = Dump(stitched_IYX=images)
    second = Dump(stitched_IYX=images * np.array([1j, -1])[:, None, None])
    found = compare(first, second, tolerance=0.01)
    assert found.passed
    assert "image by image" in " ".join(found.pair.said)
    write_comparison(tmp_path, found)
    assert "Not paired: not both dumps have patches" in comparison_text(found)
