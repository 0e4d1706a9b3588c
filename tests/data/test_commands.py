"""The commands on files of measurements: what they say, and that a mistake is one line."""

import numpy as np
import pytest
from tests.commands import call, refused
from tests.data.conftest import same
from tests.scans import write_cxi

from ptycho_torch.data.read import read_scan
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError


@pytest.fixture
def file(tmp_path, canonical):
    np.savez(tmp_path / "scan.npz", **canonical)
    return tmp_path / "scan.npz"


def test_check_data_says_what_was_read(file):
    said = call("check-data", file, "--n-images", 9, "--patch-px", 8)
    for words in ("9 frames of 8 x 8 px", "the first 9 of", "cropped from 16 to 8 px"):
        assert words in said
    assert f"sha256 {io.sha256(file)}" in said


def test_check_data_of_a_split_asks_for_its_side_and_no_positions(tmp_path, tiny_dataset):
    split = tiny_dataset.splits["test"]
    kept = io.read_npz(split, "diffraction", "probeGuess", "norm_Y_I")
    io.write_npz(tmp_path / "split.npz", kept)
    for path in (split, tmp_path / "split.npz"):
        said = call("check-data", path, "--patch-px", 16)
        assert "groups of 1 patches of 16 px, norm_Y_I" in said
    assert "expected real (n, 64, 64, C)" in refused("check-data", split, "--patch-px", 64)
    with pytest.raises(InputError, match="is no scan in a layout"):
        read_scan(tmp_path / "split.npz")


def test_any_layout_converts_to_the_canonical_npz(tmp_path, scan):
    write_cxi(tmp_path / "scan.cxi", scan)
    assert "a.npz: written" in call("convert", tmp_path / "scan.cxi", tmp_path / "a.npz")
    same(read_scan(tmp_path / "a.npz"), read_scan(tmp_path / "scan.cxi"))


def test_convert_replaces_no_file_that_it_was_not_told_to(tmp_path, file):
    (tmp_path / "mine.npz").write_text("years of work")
    (tmp_path / "folder.npz").mkdir()
    for words, reason in (
        (["mine.npz"], "mine.npz: is there already; write another one, or --overwrite"),
        (["folder.npz", "--overwrite"], "folder.npz: is there already; write another one"),
        (["scan.npz", "--overwrite"], "scan.npz: is the file that is read"),
        (["scan.tif"], "ends in '.tif', expected .npz"),
    ):
        assert reason in refused("convert", file, tmp_path / words[0], *words[1:])
    assert (tmp_path / "mine.npz").read_text() == "years of work"
    call("convert", file, tmp_path / "mine.npz", "--overwrite")
