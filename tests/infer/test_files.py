"""A dump as it is written and read, and what another program may leave out or get wrong."""

import json

import numpy as np
import pytest

from ptycho_torch.files import io
from ptycho_torch.infer.parity.dump import Dump
from ptycho_torch.infer.parity.files import FORMAT, read_dump, write_dump
from ptycho_torch.runtime.errors import InputError


@pytest.fixture
def written(made, tmp_path):
    write_dump(tmp_path / "dump", made(image_P=np.zeros(25, int)), shown=4)
    return tmp_path / "dump"


def test_what_is_written_is_read(made, written):
    dump, back = made(), read_dump(written)
    for key in ("stitched_IYX", "patches_PHW", "positions_P2", "origin_2"):
        np.testing.assert_array_equal(getattr(back, key), getattr(dump, key))
    assert (back.scales, back.made_by, back.scale_is_free) == (dump.scales, "a test", False)
    facts = json.loads((written / "dump.json").read_text())
    assert facts["patch_statistics"]["amplitude"]["mean"] == pytest.approx(
        np.abs(dump.patches_PHW).mean(axis=(1, 2))
    )
    assert {p.name for p in written.iterdir()} == {
        "dump.json", "arrays.npz", "patches.png", "stitched.png",
    }  # fmt: skip


def foreign(folder, facts=None, **arrays):
    """Write what another program would: with numpy and json alone."""
    folder.mkdir()
    (folder / "dump.json").write_text(json.dumps({"format": FORMAT, **(facts or {})}))
    np.savez(folder / "arrays.npz", **arrays)
    return folder


def test_two_keys_are_enough(tmp_path):
    folder = foreign(tmp_path / "theirs", stitched=np.ones((9, 7)))
    dump = read_dump(folder)
    assert dump.stitched_IYX.shape == (1, 9, 7)
    assert (dump.patches_PHW, dump.statistics, dump.scales.input_scale) == (None, None, None)


def test_statistics_count_where_there_are_no_patches(tmp_path):
    claimed = {"amplitude": {"var_zero_mean": [0.5, None]}}
    facts = {"patch_statistics": claimed}
    folder = foreign(tmp_path / "theirs", facts, stitched=np.ones((9, 7)))
    found = read_dump(folder).statistics["amplitude"]["var_zero_mean"]
    np.testing.assert_array_equal(found, [0.5, np.nan])
    patches = foreign(
        tmp_path / "both", facts, stitched=np.ones((9, 7)), patches=np.ones((3, 4, 4))
    )
    assert read_dump(patches).statistics["amplitude"]["var_zero_mean"].tolist() == [0, 0, 0]


BAD = {
    "no image": ({}, {"image": np.ones(3)}, "has no array 'stitched', .* it has: image"),
    "empty image": ({}, {"stitched": np.ones((0, 5))}, r"'stitched' is float64 \(1, 0, 5\)"),
    "one row": ({}, {"stitched": np.ones(5)}, "expected numbers"),
    "words": ({}, {"stitched": np.array([["a"]])}, "'stitched' is <U1"),
    "negative": ({}, {"stitched": -np.ones((9, 9))}, "real and has negative values"),
    "origin": ({}, {"origin": np.ones(3)}, "'origin' is .* expected two finite numbers"),
    "bare positions": ({}, {"positions": np.ones((3, 2))}, "but no 'patches'"),
    "patches": ({}, {"patches": np.ones((3, 4))}, r"'patches' is float64 \(3, 4\)"),
    "positions": (
        {}, {"patches": np.ones((3, 4, 4)), "positions": np.ones((2, 2))}, r"expected \(3, 2\)",
    ),
    "complex positions": (
        {}, {"patches": np.ones((1, 4, 4)), "positions": np.ones((1, 2)) * 1j}, "real numbers",
    ),
    "index": (
        {}, {"patches": np.ones((1, 4, 4)), "image_index": np.array([1])}, "from 0 to 0",
    ),
    "index type": (
        {}, {"patches": np.ones((1, 4, 4)), "image_index": np.array([0.5])}, "whole numbers",
    ),
    "format": ({"format": "ptycho-torch dump 9"}, {}, "format is 'ptycho-torch dump 9', expected"),
    "scale": ({"scales": {"input_scale": -1}}, {}, r"scales\.input_scale: must be a number > 0"),
    "scales": ({"scales": 3}, {}, "'scales' must be an object"),
    "flag": ({"scale_is_free": "yes"}, {}, "'scale_is_free' must be true or false"),
    "statistics": ({"patch_statistics": {"amplitude": 3}}, {}, "must be lists of numbers"),
    "shapes": ({"shapes": {"stitched": [9, 8]}}, {}, r"'stitched' is \[9, 9\], .* torn"),
    "checksum": ({"arrays_sha256": "0" * 64}, {}, "SHA-256 is .* torn or was changed"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_foreign_or_torn_dump_is_one_error_that_names_the_part(tmp_path, case):
    facts, arrays, message = BAD[case]
    # Each case has a whole image, unless the image is what is wrong.
    whole = {} if "image" in arrays or "stitched" in arrays else {"stitched": np.ones((9, 9))}
    folder = foreign(tmp_path / "theirs", facts, **whole, **arrays)
    with pytest.raises(InputError, match=message) as caught:
        read_dump(folder)
    assert "\n" not in str(caught.value) and "theirs" in str(caught.value)


def test_no_folder_a_file_and_a_missing_file_are_told_apart(tmp_path, written):
    with pytest.raises(InputError, match="nowhere: does not exist; a dump is a folder"):
        read_dump(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"dump\.json: is no folder"):
        read_dump(written / "dump.json")
    (written / "arrays.npz").unlink()
    with pytest.raises(InputError, match=r"arrays\.npz: cannot be read"):
        read_dump(written)
    (written / "dump.json").write_text("{")
    with pytest.raises(InputError, match=r"dump\.json: is not JSON"):
        read_dump(written)


def test_nothing_is_unpickled(tmp_path):
    folder = foreign(tmp_path / "theirs", stitched=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="pickled, which is never loaded"):
        read_dump(folder)


def test_a_dump_that_was_torn_while_it_was_written_over_is_none(made, written, monkeypatch):
    monkeypatch.setattr(io, "write_npz", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_dump(written, made(scale=2.0))
    with pytest.raises(InputError, match=r"dump\.json: cannot be read"):
        read_dump(written)


def test_images_and_gaps_are_kept(tmp_path):
    images = np.ones((2, 9, 9), np.float32)
    images[1, :3] = np.nan
    write_dump(tmp_path / "d", Dump(stitched_IYX=images))
    np.testing.assert_array_equal(read_dump(tmp_path / "d").stitched_IYX, images)
