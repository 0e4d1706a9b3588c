"""A file under a planted convention is read right with the flags found; ties are not decided."""

import json
import re

import numpy as np
import pytest
from tests.commands import call, run
from tests.scans import a_probe, a_scan, canonical, patterns, write_cxi

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.read import read_scan
from ptycho_torch.reconstruct.check import check_file
from ptycho_torch.reconstruct.trial import Outcome, twin_similarity


@pytest.fixture(scope="module")
def known():
    """A scan of a known object, with photon noise."""
    return a_scan(counts=1e5, frames=(13, 15), step=1.9)


@pytest.fixture(autouse=True)
def frames(monkeypatch):
    """36 are reconstructed: enough for this small scan."""
    monkeypatch.setattr("ptycho_torch.reconstruct.trial.RECONSTRUCTED_FRAMES", 36)


def mirrored(scan, axis):
    """The coordinate of windows in a mirrored object: as flipping it again undoes."""
    return (scan.object_YX.shape[axis] - 16) - scan.positions_n2[:, axis] + 8


def at(scan, rows, columns):
    """Positions in a file, from corners."""
    return {"ycoords": scan.positions_n2[:, 0] + rows, "xcoords": scan.positions_n2[:, 1] + columns}


PLANTED = {
    "none": lambda s: {},
    "corner": lambda s: at(s, 0, 0),
    "x and y swapped": lambda s: dict(
        zip(("xcoords", "ycoords"), s.positions_n2.T + 8, strict=True)
    ),
    "rows mirrored": lambda s: {"ycoords": mirrored(s, 0)},
    "both mirrored": lambda s: {"ycoords": mirrored(s, 0), "xcoords": mirrored(s, 1)},
    "half a pixel": lambda s: at(s, 7.5, 7.5),
    "from the middle": lambda s: at(s, -13, -15),
    "zero frequency in the corner": lambda s: {
        "diffraction": np.fft.ifftshift(s.amplitude_nHW, axes=(1, 2))
    },
    "intensities": lambda s: {"diffraction": s.amplitude_nHW**2},
}


@pytest.mark.parametrize(
    ("error", "errors_n", "told"),
    [
        (0.12, np.full(64, 1.44), True),
        (0.105, np.full(64, 1.44), False),  # Not by the ratio.
        (0.12, np.append(np.ones(63), 30), False),  # One frame of 64: chance.
    ],
)
def test_conventions_are_told_apart_by_a_ratio_and_beyond_chance(error, errors_n, told):
    best = Outcome(ScanConventions(), 0.1, errors_n=np.ones(64))
    other = Outcome(ScanConventions(), error, errors_n=errors_n)
    assert best.told_from(other, 1.1) is told


def check(folder, parts, **given):
    """Return the report, and the scan as it says."""
    path = folder / "scan.npz"
    np.savez(path, **parts)
    report = check_file(path, ScanConventions(**given))
    return report, lambda: read_scan(path, ScanConventions(**report["reading"]))


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_convention_is_found(tmp_path, known, planted):
    report, read = check(tmp_path, canonical(known, **PLANTED[planted](known)))
    assert report["decided"]
    np.testing.assert_allclose(read().positions_n2, known.positions_n2, atol=1e-9)
    np.testing.assert_allclose(read().amplitude_nHW, known.amplitude_nHW, rtol=1e-5, atol=1e-6)


def test_what_is_given_is_not_tried(tmp_path, known):
    parts = canonical(known, **PLANTED["rows mirrored"](known))
    report, _ = check(tmp_path, parts, origin="middle", flip_rows=True)
    tried = [one["flags"] for stage in report["stages"] for one in stage["readings"]]
    assert tried and all("--origin middle" in flags and "--flip-rows" in flags for flags in tried)


@pytest.mark.parametrize("planted", ["rows mirrored", "x and y swapped"])
def test_without_an_object_a_reconstruction_decides(tmp_path, known, planted):
    parts = canonical(known, **PLANTED[planted](known), objectGuess=None)
    report, read = check(tmp_path, parts, values="amplitude")
    assert report["decided"]
    apart = read().positions_n2 - known.positions_n2
    np.testing.assert_allclose(apart, np.broadcast_to(apart[0], apart.shape), atol=1e-9)


def test_positions_that_explain_nothing_are_no_reading_whatever_ties(tmp_path, known):
    """Each reading of them errs as shuffled ones do, far above the noise; all that tie are named."""
    places = np.random.default_rng(3).permutation(known.positions_n2 + 8)
    parts = canonical(known, objectGuess=None, ycoords=places[:, 0], xcoords=places[:, 1])
    report, _ = check(tmp_path, parts, values="amplitude")
    assert not report["decided"]
    explained = r"no conventions explain the frames: the best errs by 0\.\d+, shuffled .* by 0\.\d+"
    assert re.search(explained, report["doubt"])
    assert "in their order, and is it a far field" in report["doubt"]


def test_an_object_that_predicts_nothing_is_left_aside(tmp_path, known):
    parts = canonical(known, objectGuess=np.ones_like(known.object_YX))
    report, _ = check(tmp_path, parts, values="amplitude")
    assert [s["answer"] for s in report["stages"] if s["question"] == "object"]
    assert report["decided"] and not {"swap_axes", "flip_rows", "flip_columns"} & set(
        report["reading"]
    )


def test_where_the_twin_cannot_be_ruled_out_the_sign_stays_open(tmp_path, known):
    """Without a probe, and under a probe that is its own twin."""
    y, x = np.mgrid[:16, :16] - 8
    disk = np.exp(-(((y**2 + x**2) / 12.0) ** 2))[None].astype(np.complex64)
    assert twin_similarity(disk) > 0.99 and twin_similarity(a_probe()) < 0.9
    frames = np.sqrt(patterns(disk, known.object_YX, known.positions_n2))
    for change in ({"probeGuess": None}, {"diffraction": frames, "probeGuess": disk[0]}):
        parts = canonical(known, **change, objectGuess=None)
        report, _ = check(tmp_path, parts, values="amplitude")
        assert "the turned, conjugated object fits as well" in report["doubt"]


def test_the_sign_of_translation_is_told_by_probe_and_object(tmp_path, known):
    write_cxi(tmp_path / "scan.cxi", known)
    report = check_file(tmp_path / "scan.cxi", ScanConventions())
    assert report["decided"] and "flip_rows" not in report["reading"]


def test_the_command_says_which_flags_and_fails_on_doubt(tmp_path, known):
    path = tmp_path / "scan.npz"
    np.savez(path, **canonical(known, **PLANTED["corner"](known)))
    said = call("check", path)
    assert "read it with: " in said and "--origin corner" in said
    found = json.loads(call("check", path, "--json"))
    assert found["decided"] and found["reading"]["origin"] == "corner"

    same = np.repeat(known.amplitude_nHW[:1], len(known), axis=0)
    np.savez(path, **canonical(known, diffraction=same))
    status, said, err = run("check", path, "--json", "--values", "amplitude")
    assert status == 1 and ("cannot be told apart" in err or "no conventions" in err)
    assert not json.loads(said)["decided"]
