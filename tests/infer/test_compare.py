"""A dump as it is written and read, by us and by another program; two held against each other: what
passes, what fails, and by which name."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from tests.commands import run

from ptycho_torch.data.units import Scales
from ptycho_torch.files import io
from ptycho_torch.infer import compare as comparing
from ptycho_torch.infer.dump import DUMP_FILES, FORMAT, Dump, read_dump, write_dump
from ptycho_torch.runtime.errors import InputError

SIDE, SIZE = 8, 24
UNITS = {"input_scale": 1.0, "norm_Y_I": 2.0}


def made(*, scale=1.0, turn=0.0, crop=0, **changes):
    """Make a dump of an object of amplitude 0.5 to 1.5 with phase, changed as requested.

    scale: of image and patches; turn: global phase; crop: rows and columns cut at the start.
    """
    rows, columns = np.mgrid[:SIZE, :SIZE]
    amplitude = 1 + 0.5 * np.sin(rows / 3) * np.cos(columns / 4)
    thing = scale * amplitude * np.exp(1j * (0.8 * np.sin(rows / 5 + columns / 7) + turn))
    corners = np.arange(0, SIZE - SIDE + 1, 4)
    grid = np.stack(np.meshgrid(corners, corners, indexing="ij"), -1).reshape(-1, 2)
    patches = np.stack([thing[r : r + SIDE, c : c + SIDE] for r, c in grid]) / 2
    parts = {
        "stitched_YX": thing[crop:, crop:].astype(np.complex64),
        "scales": Scales(intensity_scale=900.0, intensity_scale_source="measured", **UNITS),
        "origin_2": np.array([crop, crop], float) + 3,
        "patches_PHW": patches.astype(np.complex64),
        "positions_P2": grid.astype(float) + 3,
        "made_by": "a test",
        "source": "made",
    }
    return Dump(**{**parts, **changes})


VARIANCES = {"amplitude_var_zero_mean", "complex_var_zero_mean"}
SCALED = VARIANCES | {"stitched_rms", "amplitude_mae", "complex_mae"}


def compare(*dumps, tolerance=0.1, **more):
    """Compare; return the record's keys as attributes, values by name, and text."""
    record, _ = comparing.compare(*dumps, tolerance=tolerance, **more)
    json.dumps(record, allow_nan=False)
    values = {q["name"]: q["value"] for q in record["quantities"]}
    text = comparing.comparison_text(record)
    return SimpleNamespace(**record, values=values, text=text)


def test_a_dump_agrees_with_itself_up_to_a_global_phase():
    found = compare(made(), made(turn=2.0), tolerance=1e-6)
    assert {q["status"] for q in found.quantities} == {"pass"}
    for name, value in found.values.items():
        expected = 0 if name.endswith("_mae") else 1
        assert value == pytest.approx(expected, abs=1e-6), name


def test_a_scale_of_1_2_fails_by_name():
    """SSIM drops with it too; scales in force pass; a phase that is lost fails as complex."""
    found = compare(made(), made(scale=1.2))
    assert SCALED <= set(found.failed) <= {*SCALED, "amplitude_ssim"}
    expected = {"stitched_rms": 1.2, "amplitude_var_zero_mean": 1.44, "amplitude_mae": 0.2}
    for name, value in expected.items():
        assert found.values[name] == pytest.approx(value, rel=1e-5)
    flat = np.abs(made().stitched_YX).astype(complex)
    assert compare(made(), made(stitched_YX=flat)).failed == ["complex_mae"]


def scales(**given):
    return {"scales": Scales(**given)}


ELSEWHERE = ["amplitude_mae", "amplitude_ssim", "complex_mae"]


@pytest.mark.parametrize(
    ("first", "second", "failed", "text"),
    [
        ({}, {"scale": 1.04}, [], "passed in all"),
        # A scale that one does not give; a ratio at the very bound, and beyond it.
        ({}, scales(**UNITS), [], "not judged: intensity_scale"),
        (scales(input_scale=1.0), scales(input_scale=1.1), [], ""),
        (scales(input_scale=1.0), scales(input_scale=1.11), ["input_scale"], ""),
        ({}, {"crop": 5}, [], "overlap in 19 x 19 px"),
        ({"crop": 5}, {}, [], "overlap in 19 x 19 px"),
        # Taken as if it began where A does, the image is another one.
        ({}, {"crop": 5, "origin_2": np.array([3.0, 3.0])}, ELSEWHERE, ""),
        ({}, {"origin_2": np.array([3.2, 3.0])}, [], "[0.2, 0.0] px apart"),
    ],
)
def test_what_fails_and_what_is_said(first, second, failed, text):
    found = compare(made(**first), made(**second))
    assert found.failed == failed and text in found.text


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InputError, match="no pixel in common"):
        compare(made(), made(origin_2=np.array([1e9, 0.0])))
    with pytest.raises(InputError, match="has no 'origin', which canvases of"):
        compare(made(origin_2=None), made(crop=2))


def test_what_one_side_did_not_see_does_not_count():
    holed, other = made(), made()
    holed.stitched_YX[:10, :6] = np.nan
    other.stitched_YX[:10, :6] *= 50
    found = compare(holed, other, tolerance=0.01)
    assert not found.failed and "516 of 576 px of the overlap are known in both" in found.text


@pytest.mark.parametrize("value", [1, 0, np.nan])
def test_an_image_that_shows_nothing_has_not_passed(value):
    """A constant image agrees with every other one; that is no parity."""
    empty = made(stitched_YX=np.full((24, 24), complex(value)))
    found = compare(empty, empty)
    assert "amplitude_ssim" in found.failed and found.values["amplitude_ssim"] is None
    assert "not defined: A is zero, constant, or" in found.text


def test_patches_that_are_not_finite_have_not_passed():
    broken = made().patches_PHW.copy()
    broken[7, 2, 2] = np.nan
    found = compare(made(), made(patches_PHW=broken))
    assert found.failed == ["amplitude_var_zero_mean", "complex_var_zero_mean"]


@pytest.mark.parametrize(
    ("second", "more", "status"),
    [("same", [], 0), ("scaled", [], 2), ("scaled", ["--tolerance", 0.5], 0), ("nowhere", [], 1)],
)
def test_the_command_says_it_by_its_exit_status(second, more, status, tmp_path):
    for name, dump in {"a": made(), "same": made(crop=3), "scaled": made(scale=1.2)}.items():
        if name in ("a", second):
            write_dump(tmp_path / name, dump)
    out = tmp_path / "out"
    words = ("compare", tmp_path / "a", tmp_path / second, "--output-dir", out, *more)
    found, said, _ = run(*words)
    assert found == status and out.exists() is (status != 1)
    if status == 1:
        return
    assert ("passed in all" if status == 0 else "FAILED in") in said
    assert json.loads((out / "compare.json").read_text())["passed"] is (status == 0)
    assert (out / "compare.md").read_text().strip() == said.strip()
    assert (out / "compare.png").stat().st_size > 5000


def test_what_is_written_is_read(tmp_path):
    dump, folder = made(), tmp_path / "dump"
    dump.stitched_YX[:3] = np.nan
    write_dump(folder, dump)
    back = read_dump(folder)
    for key in ("stitched_YX", "patches_PHW", "origin_2"):
        np.testing.assert_array_equal(getattr(back, key), getattr(dump, key))
    assert (back.scales, back.made_by) == (dump.scales, "a test")
    written = io.read_npz(folder / "arrays.npz", "positions")["positions"]
    np.testing.assert_array_equal(written, dump.positions_P2)
    means = io.read_json(folder / "dump.json")["patch_statistics"]["amplitude"]["mean"]
    assert means == pytest.approx(np.abs(dump.patches_PHW).mean(axis=(1, 2)))
    assert {p.name for p in folder.iterdir()} == set(DUMP_FILES)
    # Of another program two keys are enough.
    least = read_dump(foreign(tmp_path / "least", stitched=np.ones((9, 7), complex)))
    assert (least.stitched_YX.shape, least.patches_PHW) == ((9, 7), None)


def foreign(folder, facts=None, **arrays):
    """Write what another program would: with numpy and json alone."""
    folder.mkdir()
    (folder / "dump.json").write_text(json.dumps({"format": FORMAT, **(facts or {})}))
    np.savez(folder / "arrays.npz", **arrays)
    return folder


BAD_ARRAYS = [
    ({"image": np.ones(3)}, "has no array 'stitched'; it has: image"),
    ({"stitched": np.ones((0, 5))}, r"'stitched' is \(0, 5\) float64, expected"),
    ({"stitched": np.array([["a"]])}, "'stitched' is .* <U1, expected complex"),
    ({"stitched": np.array([{"a": 1}], dtype=object)}, "pickle"),
    ({"stitched": np.ones((9, 9))}, "'stitched' is real; give the complex object"),
    ({"origin": np.ones(3)}, r"'origin' is \(3,\) float64, expected real \(2\)"),
    ({"patches": np.ones((3, 4))}, r"'patches' is \(3, 4\) float64"),
    ({"origin": np.ones(2) * 1j}, "'origin' is .* complex128"),
]
BAD_FACTS = [
    ({"format": "ptycho-torch dump 9"}, "format: .*'ptycho-torch dump 9'"),
    ({"scales": {"input_scale": -1}}, r"scales\.input_scale: .*greater than 0"),
    ({"arrays_sha256": "0" * 64}, "arrays.npz: SHA-256 is .*, expected 000"),
]
BAD = [(arrays, {}, message) for arrays, message in BAD_ARRAYS]
BAD += [({}, facts, message) for facts, message in BAD_FACTS]


@pytest.mark.parametrize(("arrays", "facts", "message"), BAD)
def test_a_foreign_or_torn_dump_is_one_error_that_names_the_part(tmp_path, arrays, facts, message):
    """Each has a whole image, unless the image is what is wrong."""
    whole = {} if "image" in arrays else {"stitched": np.ones((9, 9), complex)}
    folder = foreign(tmp_path / "theirs", facts, **whole | arrays)
    with pytest.raises(InputError, match=message) as caught:
        read_dump(folder)
    assert "\n" not in str(caught.value) and "theirs" in str(caught.value)
