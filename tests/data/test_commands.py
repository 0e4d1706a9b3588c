"""The commands on files of measurements: what they say, and that a mistake is one line."""

import numpy as np
import pytest
from typer.testing import CliRunner

from ptycho_torch.cli import app
from ptycho_torch.data.read import read_scan
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def file(tmp_path, canonical):
    np.savez(tmp_path / "scan.npz", **canonical)
    return tmp_path / "scan.npz"


def test_check_data_says_what_was_read(file):
    done = run("check-data", file, "--n-images", 9, "--patch-px", 8)
    assert done.exit_code == 0, done.output
    assert "9 frames of 8 x 8 px" in done.output
    assert "the first 9 of" in done.output and "cropped from 16 to 8 px" in done.output
    assert io.sha256(file) in done.output


def test_check_data_of_a_split_asks_for_its_side_and_no_positions(tmp_path, tiny_dataset):
    split = tiny_dataset.splits["test"]
    kept = io.read_npz(split, "diffraction", "probeGuess", "norm_Y_I")
    io.write_npz(tmp_path / "split.npz", kept)
    for path in (split, tmp_path / "split.npz"):
        done = run("check-data", path, "--patch-px", 16)
        assert "groups of 1 patches of 16 px, norm_Y_I" in done.output
    wrong = run("check-data", split, "--patch-px", 64)
    assert "expected real (n, 64, 64, C)" in str(wrong.exception)
    with pytest.raises(InputError, match="is no scan in a layout"):
        read_scan(tmp_path / "split.npz")


def test_a_split_converts_there_and_back_and_is_predicted_within_the_photon_noise(
    tmp_path, tiny_dataset
):
    split = tiny_dataset.splits["test"]
    for source, target in ((split, "a.cxi"), (tmp_path / "a.cxi", "b.npz")):
        done = run("convert", source, tmp_path / target)
        assert done.exit_code == 0, done.output
        assert "written and read back, equal" in done.output
        assert "within the photon noise" in done.output


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--values", "photons"), "--values: Input should be"),
        (("--patch-px", "0"), "--patch-px: Input should be greater"),
        (("--half-pixel", "2"), "--half-pixel: Input should be -1, 0 or 1"),
        (("--wavelength-m", "1e-10"), "--distance-m is None; a geometry needs"),
    ],
)
def test_wrong_flags_are_named(tmp_path, file, words, reason):
    done = run("convert", file, tmp_path / "a.cxi", *words)
    assert isinstance(done.exception, InputError)
    assert str(done.exception).startswith(reason)
    assert not (tmp_path / "a.cxi").exists()


def test_a_given_geometry_is_written_and_npz_takes_none(tmp_path, file):
    words = ("--wavelength-m", 1e-10, "--distance-m", 2, "--detector-pixel-m", 1e-4)
    done = run("convert", file, tmp_path / "a.cxi", *words)
    assert done.exit_code == 0 and "made up" not in done.output
    done = run("convert", file, tmp_path / "a.npz", *words)
    assert "has no place for a geometry" in str(done.exception)


def test_convert_leaves_no_file_that_it_refused_and_replaces_none(tmp_path, file):
    tiny = ("--wavelength-m", "1e-300", "--distance-m", "1e300", "--detector-pixel-m", "1e-300")
    done = run("convert", file, tmp_path / "a.cxi", *tiny)
    assert done.exit_code and not (tmp_path / "a.cxi").exists()
    (tmp_path / "mine.npz").write_text("years of work")
    done = run("convert", file, tmp_path / "mine.npz")
    assert "mine.npz: is there already; write another one, or --overwrite" in str(done.exception)
    assert (tmp_path / "mine.npz").read_text() == "years of work"
    assert run("convert", file, tmp_path / "mine.npz", "--overwrite").exit_code == 0
    (tmp_path / "folder.npz").mkdir()
    done = run("convert", file, tmp_path / "folder.npz", "--overwrite")
    assert str(done.exception).endswith("folder.npz: is there already; write another one")
