"""Every layout is read as the same scan, and what is recognised is said; bad input gets one line:
where, what came, what was expected, the cure; and the commands on such files."""

import bz2
import dataclasses

import h5py
import numpy as np
import pytest
from tests.commands import call, refused
from tests.data.conftest import note, same
from tests.samples import a_scan, patterns, write_cxi

from ptycho_torch.data.prepare import cropped
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.write import write_scan_npz
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError


@pytest.mark.parametrize("turn", [None, lambda f: np.moveaxis(f, 0, -1), lambda f: f[..., None]])
def test_a_canonical_npz_names_the_middle_of_each_window(read_npz, scan, canonical, turn):
    if turn:
        canonical["diff3d"] = turn(canonical.pop("diffraction"))
    found = read_npz(canonical)
    same(found, scan)
    note(found, "each window's centre")
    assert not turn or any("transposed" in n or "dropped" in n for n in found.notes)


@pytest.mark.parametrize("scale", [None, 3.7])
@pytest.mark.parametrize("modes", [1, 2])
def test_what_is_written_is_read_back(tmp_path, scale, modes):
    """Also a mask for each frame, and frames that would be left out or found saturated."""
    scan = a_scan(modes=modes)
    frames = scan.amplitude_nHW.copy()
    good = np.random.default_rng(0).random(frames.shape) > 0.1
    frames[3:9] *= 0.01
    frames[~good] = 0
    scan = dataclasses.replace(scan, amplitude_nHW=frames, good_1HW=good, intensity_scale=scale)
    write_scan_npz(tmp_path / "scan.npz", scan)
    same(read_scan(tmp_path / "scan.npz"), scan)


@pytest.mark.parametrize("key", ["objectGuess", "probeGuess", "scan_index", "mask", "dark"])
def test_an_optional_array_that_is_pickled_is_left_out_and_said(read_npz, canonical, key):
    canonical[key] = np.array(None, dtype=object)
    note(read_npz(canonical), f"not used: {key} (pickled, which is never loaded)")
    canonical["xcoords"] = canonical["xcoords"].astype(object)
    with pytest.raises(InputError, match="'xcoords' cannot be read: it is pickled"):
        read_npz(canonical)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_the_root_of_counts_is_taken_and_said(read_npz, scan, canonical, dtype):
    counts = np.rint(scan.amplitude_nHW.astype(np.float64) ** 2 * 100)
    canonical["diffraction"] = counts.astype(dtype)
    found = read_npz(canonical)
    np.testing.assert_allclose(found.amplitude_nHW**2, counts, rtol=1e-6)
    assert found.intensity_scale == 1
    note(found, "root taken")
    np.testing.assert_array_equal(read_npz(canonical, values="amplitude").amplitude_nHW, counts)


def test_the_zero_frequency_is_found_in_the_corner_and_moved(read_npz, scan, canonical):
    canonical["diffraction"] = np.fft.ifftshift(canonical["diffraction"], axes=(1, 2))
    found = read_npz(canonical)
    same(found, scan)
    note(found, "zero frequency in the corner")


def test_one_of_several_scans_must_be_chosen(read_npz, scan, canonical):
    canonical["scan_index"] = np.arange(len(scan)) // 5
    with pytest.raises(InputError, match="holds .* scans .* choose one with --scan-index"):
        read_npz(canonical)
    found = read_npz(canonical, scan_index=1)
    np.testing.assert_allclose(found.positions_n2, scan.positions_n2[5:10])
    with pytest.raises(InputError, match="holds .* scans .* choose one"):
        read_npz(canonical, scan_index=99)


def test_the_layout_of_tike_packed_or_not(read_npz, tmp_path, scan):
    counts = np.rint(scan.amplitude_nHW.astype(np.float64) ** 2 * 1000)
    plain = read_npz({
        "data": np.fft.ifftshift(counts, axes=(1, 2))[None].astype(np.float32),
        "scan": scan.positions_n2[None].astype(np.float32),
        "probe": scan.probe_MHW[None, None, None],
    })  # fmt: skip
    path = tmp_path / "scan.npz.bz2"
    path.write_bytes(bz2.compress((tmp_path / "scan.npz").read_bytes()))
    for found in (plain, read_scan(path)):
        np.testing.assert_allclose(found.positions_n2, scan.positions_n2, atol=1e-5)
        np.testing.assert_allclose(found.amplitude_nHW**2, counts, rtol=1e-5)
        assert found.intensity_scale == 1


def test_a_part_of_the_frames_stays_where_it_is_in_the_whole(read_npz, canonical):
    del canonical["objectGuess"]
    canonical["ycoords"] = canonical["ycoords"][::-1].copy() - 100
    whole, part = read_npz(canonical), read_npz(canonical, n_images=7)
    np.testing.assert_array_equal(part.positions_n2, whole.positions_n2[:7])
    assert len(part) == 7 and 0 <= whole.positions_n2.min() < 1


def test_a_cropped_detector_sees_larger_pixels():
    """Of an empty object its pattern stays, pixel by pixel."""
    scan = a_scan(side=32)
    cut = cropped(scan, 12)
    np.testing.assert_array_equal(cut.amplitude_nHW, scan.amplitude_nHW[:, 10:22, 10:22])
    np.testing.assert_allclose(cut.positions_n2, scan.positions_n2 * 12 / 32)
    assert cut.object_YX is None and "the file's object is left out" in cut.notes[-1]
    empty, origin = np.ones((40, 40)), np.zeros((1, 2))
    full = patterns(scan.probe_MHW, empty, origin)
    seen = patterns(cut.probe_MHW, empty, origin)
    np.testing.assert_allclose(seen, full[:, 10:22, 10:22], atol=1e-5)
    with pytest.raises(InputError, match="frames are 32 px, patch_px 64 asks for more"):
        cropped(scan, 64)


def one_pixel(value):
    def change(frames):
        frames[2, 3, 4] = value
        return frames

    return change


BAD_ARRAYS = [
    ("xcoords", lambda x: x + 100, "windows .* outside the object .*in pixels, and of the corner"),
    ("xcoords ycoords", lambda x: 0 * x + 20, "the scan hardly moves: the median step is 0 px"),
    ("ycoords", lambda y: np.where(np.arange(len(y)) == 1, np.inf, y), "frame 1 is not finite"),
    ("xcoords", lambda x: x[:3], "'xcoords' is .3,. float64, expected real"),
    ("ycoords", None, "is no scan in a layout that is known here"),
    ("diffraction", one_pixel(np.nan), "1 of .* hold NaN or infinity .*the first is frame 2"),
    ("diffraction", one_pixel(-1), "1 pixels of frame 2 are negative; counts and amplitudes are"),
    ("diffraction", lambda f: f.astype(float) * 1e80, "or what is too large for float32"),
    ("diffraction", lambda f: f * 1j, "is .* complex64, expected real"),
    ("diffraction", lambda f: np.full(f.shape, "many"), "is .* <U4, expected real .n, N, N."),
    ("diffraction", lambda f: f[:, :, 1:], "is .*16, 15. float32, expected real .n, N, N."),
    ("diffraction", lambda f: f * 0, "frames are zero everywhere, or masked: no light"),
    ("diffraction", lambda f: np.array([{}], object), "cannot be read: it is pickled, which is ne"),
    ("probeGuess", lambda p: p[2:-2, 2:-2], "is .1, 12, 12. complex64, expected complex .M, 16"),
    ("probeGuess", lambda p: p * np.nan, "probe_MHW is not finite, or zero everywhere"),
    ("objectGuess", lambda o: np.stack([o, o]), "is .2, 42, 46. complex64, expected complex .Y"),
    ("scan_index", lambda _: np.zeros(2), "'scan_index' is .2,. float64, expected real"),
    ("intensity_scale", lambda _: -1, "'intensity_scale' must be one number > 0, got -1"),
    ("good_pixels", lambda _: np.ones((1, 12, 12), int), "is .1, 12, 12. int64, expected mask .1"),
    ("good_pixels", lambda _: np.zeros((16, 16), bool), "256 of 256 .*--mask-means bad reads it"),
]


@pytest.mark.parametrize(("names", "change", "reason"), BAD_ARRAYS)
def test_bad_arrays_are_refused_in_one_line(read_npz, tmp_path, canonical, names, change, reason):
    for name in names.split():
        array = canonical.pop(name, None)
        if change is not None:
            canonical[name] = change(array)
    with pytest.raises(InputError, match=reason) as error:
        read_npz(canonical)
    assert str(error.value).startswith(str(tmp_path)) and "\n" not in str(error.value)


def test_what_a_file_cannot_give_is_said_with_what_it_has(read_npz, canonical, tmp_path):
    with pytest.raises(InputError, match="to pixels: the file has no geometry; give"):
        read_npz(canonical, units="metres")
    with h5py.File(tmp_path / "a.cxi", "w") as file:
        file["measurement/data"] = np.ones((4, 16, 16))
    with pytest.raises(InputError, match="no CXI file with frames: .*; it has: measurement"):
        read_scan(tmp_path / "a.cxi")


def test_nan_under_the_mask_is_no_matter(read_npz, canonical):
    canonical["diffraction"][:5, 3, 4] = np.nan
    canonical["good_pixels"] = np.ones((1, 16, 16), bool)
    canonical["good_pixels"][0, 3, 4] = False
    scan = read_npz(canonical)
    assert np.isfinite(scan.amplitude_nHW).all() and not scan.good_1HW[0, 3, 4]


@pytest.fixture
def file(tmp_path, canonical):
    np.savez(tmp_path / "scan.npz", **canonical)
    return tmp_path / "scan.npz"


def test_check_data_says_what_was_read(file):
    said, sha256 = call("check-data", file, "--n-images", 9, "--patch-px", 8), io.sha256(file)
    wanted = (
        "9 frames of 8 x 8 px",
        "the first 9 of",
        "cropped from 16 to 8 px",
        f"sha256 {sha256}",
    )
    assert [words for words in wanted if words not in said] == []


def test_check_data_of_a_split_without_positions_is_refused(tmp_path, tiny_dataset):
    split = tiny_dataset.splits["test"]
    assert "split of the study" in call("check-data", split)
    io.write_npz(tmp_path / "split.npz", io.read_npz(split, "diffraction", "probeGuess"))
    assert "is no scan in a layout" in refused("check-data", tmp_path / "split.npz")


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
