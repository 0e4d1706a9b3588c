"""A dump as it is written and read, and what another program may leave out or get wrong."""

import json

import numpy as np
import pytest

from ptycho_torch.files import io
from ptycho_torch.infer.dump import DUMP_FILES, FORMAT, Dump, read_dump, write_dump
from ptycho_torch.runtime.errors import InputError


def test_what_is_written_is_read(made, tmp_path):
    dump, folder = made(), tmp_path / "dump"
    dump.stitched_YX[:3] = np.nan
    write_dump(folder, dump)
    back = read_dump(folder)
    for key in ("stitched_YX", "patches_PHW", "positions_P2", "origin_2"):
        np.testing.assert_array_equal(getattr(back, key), getattr(dump, key))
    assert (back.scales, back.made_by) == (dump.scales, "a test")
    means = io.read_json(folder / "dump.json")["patch_statistics"]["amplitude"]["mean"]
    assert means == pytest.approx(np.abs(dump.patches_PHW).mean(axis=(1, 2)))
    assert {p.name for p in folder.iterdir()} == set(DUMP_FILES)


def foreign(folder, facts=None, **arrays):
    """Write what another program would: with numpy and json alone."""
    folder.mkdir()
    (folder / "dump.json").write_text(json.dumps({"format": FORMAT, **(facts or {})}))
    np.savez(folder / "arrays.npz", **arrays)
    return folder


def test_two_keys_are_enough(tmp_path):
    dump = read_dump(foreign(tmp_path / "least", stitched=np.ones((9, 7), complex)))
    assert dump.stitched_YX.shape == (9, 7)
    assert (dump.patches_PHW, dump.scales.input_scale) == (None, None)


PATCH = {"patches": np.ones((1, 4, 4), complex)}
BAD_ARRAYS = {
    "no image": ({"image": np.ones(3)}, "has no array 'stitched'; it has: image"),
    "empty": ({"stitched": np.ones((0, 5))}, r"'stitched' is \(0, 5\) float64, expected"),
    "words": ({"stitched": np.array([["a"]])}, "'stitched' is .* <U1, expected complex"),
    "pickled": ({"stitched": np.array([{"a": 1}], dtype=object)}, "pickle"),
    "no phase": ({"stitched": np.ones((9, 9))}, "'stitched' is real; give the complex object"),
    "origin": ({"origin": np.ones(3)}, r"'origin' is \(3,\) float64, expected real \(2\)"),
    "bare positions": ({"positions": np.ones((3, 2))}, "no 'patches'"),
    "patches": ({"patches": np.ones((3, 4))}, r"'patches' is \(3, 4\) float64"),
    "positions": ({**PATCH, "positions": np.ones((2, 2))}, r"'positions' is \(2, 2\) .*\(1, 2\)"),
    "complex": ({**PATCH, "positions": np.ones((1, 2)) * 1j}, "'positions' is .* complex128"),
    "NaN": ({**PATCH, "positions": np.full((1, 2), np.nan)}, "'positions' is not finite"),
}
BAD_FACTS = {
    "format": ({"format": "ptycho-torch dump 9"}, "format: .*'ptycho-torch dump 9'"),
    "scale": ({"scales": {"input_scale": -1}}, r"scales\.input_scale: .*greater than 0"),
    "checksum": ({"arrays_sha256": "0" * 64}, "arrays.npz: SHA-256 is .*, expected 000"),
}


@pytest.mark.parametrize("case", [*BAD_ARRAYS, *BAD_FACTS])
def test_a_foreign_or_torn_dump_is_one_error_that_names_the_part(tmp_path, case):
    arrays, message = BAD_ARRAYS.get(case, ({}, None))
    facts, message = BAD_FACTS.get(case, ({}, message))
    # Each case has a whole image, unless the image is what is wrong.
    whole = {} if "image" in arrays else {"stitched": np.ones((9, 9), complex)}
    folder = foreign(tmp_path / "theirs", facts, **whole | arrays)
    with pytest.raises(InputError, match=message) as caught:
        read_dump(folder)
    assert "\n" not in str(caught.value) and "theirs" in str(caught.value)


def test_a_dump_that_was_torn_while_it_was_written_over_is_none(made, tmp_path, monkeypatch):
    write_dump(tmp_path / "dump", Dump(stitched_YX=np.ones((9, 9))))
    monkeypatch.setattr(io, "write_npz", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_dump(tmp_path / "dump", made(scale=2.0))
    with pytest.raises(InputError, match=r"dump\.json: cannot be read"):
        read_dump(tmp_path / "dump")
