"""`ptycho-torch reconstruct`: a file in, object, picture and report out, or one line."""

import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread
from tests.commands import refused, run
from tests.reconstruct.compare import apart
from tests.scans import a_scan, canonical

from ptycho_torch.config.scan import RpieSettings
from ptycho_torch.files import io
from ptycho_torch.reconstruct.run import reconstruct_scan

KNOWN = RpieSettings(iterations=30, refine_probe=False)


@pytest.fixture(scope="module")
def made():
    return a_scan(step=2, frames=(8, 8), jitter=1.0)


def test_object_picture_and_report_are_written(made, tmp_path):
    """And of a masked pixel nothing counts, in no R factor."""
    good = np.ones((1, 16, 16), bool)
    good[0, 5, 5] = False
    scan = replace(made, amplitude_nHW=np.where(good, made.amplitude_nHW, np.nan), good_1HW=good)
    report = reconstruct_scan(scan, KNOWN, folder=tmp_path)
    names = {"object.npz", "reconstruction.png", "report.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert io.read_json(tmp_path / "report.json") == report
    assert (report["frames"], report["batch_size"]) == (64, 8)
    assert 0 < report["r_factor"] < 0.05
    with np.load(tmp_path / "object.npz") as file:
        found, light = ((file[key], file["origin"]) for key in ("object", "light"))
        assert apart(found, made, light) < 0.05
        assert file["error"].tolist() == report["error"]
    picture = imread(tmp_path / "reconstruction.png")
    assert picture.shape[0] > 500 and picture[..., :3].std() > 0.05


@pytest.fixture
def words(made, tmp_path):
    """The command on a file of the scan."""
    np.savez(tmp_path / "scan.npz", **canonical(made, objectGuess=None))
    return ("reconstruct", tmp_path / "scan.npz", "--output-dir", tmp_path / "out")


def test_the_command_says_how_it_goes_and_what_it_wrote(words, tmp_path):
    status, out, err = run(*words, "--iterations", 20, "--batch-size", 4)
    assert status == 0
    assert "iteration 1 of 20: R factor" in err and "iteration 20 of 20" in err
    assert "64 frames, 4 at once, 20 iterations" in out
    report = io.read_json(tmp_path / "out/report.json")
    assert report["settings"]["batch_size"] == 4 and report["r_factor"] < 0.1
    assert report["doubt"] is None and "not converging" not in out


def test_a_reconstruction_that_does_not_converge_says_what_to_run(words):
    _, out, _ = run(*words, "--iterations", 20, "--swap-axes")
    assert re.search(r"not converging: the R factor stays at 0\.\d+; run `ptycho-torch check`", out)


def test_mistakes_are_one_line_and_leave_nothing(words, tmp_path):
    said = refused(*words, "--alpha", 2)
    assert "--alpha: Input should be less than or equal to 1, got 2" in said
    said = refused(*words, "--known-probe", "--probe-from-iteration", 2)
    assert "--probe-from-iteration: has no effect on a known probe" in said
    assert not (tmp_path / "out").exists()
