"""`ptycho-torch reconstruct`: a file in, object, picture and report out, or one line."""

import re
import sys

import numpy as np
import pytest
from matplotlib.image import imread
from tests.reconstruct.scans import apart, as_scan, make_scan

from ptycho_torch.cli import main
from ptycho_torch.config.scan import RpieSettings
from ptycho_torch.files import io
from ptycho_torch.reconstruct.run import reconstruct_scan

KNOWN = RpieSettings(iterations=30, refine_probe=False)


@pytest.fixture(scope="module")
def made():
    return make_scan(side=16, step=2, frames=8, jitter=1.0)


def test_object_picture_and_report_are_written(made, tmp_path):
    """And of a masked pixel nothing counts, in no R factor."""
    good = np.ones((1, 16, 16), bool)
    good[0, 5, 5] = False
    scan = as_scan(made, amplitude_nHW=np.where(good, made.amplitude, np.nan), good_1HW=good)
    report = reconstruct_scan(scan, KNOWN, folder=tmp_path)
    names = {"object.npz", "reconstruction.png", "report.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert io.read_json(tmp_path / "report.json") == report
    assert (report["frames"], report["batch_size"]) == (64, 8)
    assert 0 < report["r_factor"] < 0.05
    with np.load(tmp_path / "object.npz") as file:
        found, light = ((file[key], file["origin"]) for key in ("object", "light"))
        assert apart(found, (made.object, made.corner), light) < 0.05
        assert file["error"].tolist() == report["error"]
    picture = imread(tmp_path / "reconstruction.png")
    assert picture.shape[0] > 500 and picture[..., :3].std() > 0.05


@pytest.fixture
def call(made, tmp_path, monkeypatch, capsys):
    """Run the command on a file; return its exit status, and what it wrote to both streams."""
    file = tmp_path / "scan.npz"
    np.savez(
        file,
        diffraction=made.amplitude.astype("f4"),
        xcoords=made.positions[:, 1] + 8,
        ycoords=made.positions[:, 0] + 8,
        probeGuess=made.probe[0].astype("c8"),
    )

    def run(*words):
        command = ["ptycho-torch", "reconstruct", file, "--output-dir", tmp_path / "out", *words]
        monkeypatch.setattr(sys, "argv", [str(word) for word in command])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


def test_the_command_says_how_it_goes_and_what_it_wrote(call, tmp_path):
    status, out, err = call("--iterations", 20, "--batch-size", 4)
    assert status == 0
    assert "iteration 1 of 20: R factor" in err and "iteration 20 of 20" in err
    assert "64 frames, 4 at once, 20 iterations" in out
    report = io.read_json(tmp_path / "out/report.json")
    assert report["settings"]["batch_size"] == 4 and report["r_factor"] < 0.1
    assert report["doubt"] is None and "not converging" not in out


def test_a_reconstruction_that_does_not_converge_says_what_to_run(call, tmp_path):
    _, out, _ = call("--iterations", 20, "--swap-axes")
    assert re.search(r"not converging: the R factor stays at 0\.\d+; run `ptycho-torch check`", out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--alpha 2", "--alpha: Input should be less than or equal to 1, got 2"),
        (
            "--known-probe --probe-from-iteration 2",
            "--probe-from-iteration: has no effect on a known probe",
        ),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(call, tmp_path, words, message):
    status, _, err = call(*words.split())
    lines = [line for line in err.splitlines() if "ptycho-torch:" in line]
    assert status == 1 and len(lines) == 1 and message in lines[0]
    assert not (tmp_path / "out").exists()
