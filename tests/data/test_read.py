"""Every layout is read as the same scan, and what is recognised is said."""

import bz2

import numpy as np
import pytest
from tests.data.compare import note, same

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.read import read_scan
from ptycho_torch.runtime.errors import InputError

N = 16


def save(folder, arrays):
    np.savez(folder / "scan.npz", **arrays)
    return folder / "scan.npz"


def test_a_canonical_npz_names_the_middle_of_each_window(tmp_path, scan, canonical):
    found = read_scan(save(tmp_path, canonical))
    same(found, scan)
    note(found, "window's pixel [N // 2]")


@pytest.mark.parametrize("turn", [lambda f: np.moveaxis(f, 0, -1), lambda f: f[..., None]])
def test_transposed_and_four_axed_stacks_are_turned_and_said(tmp_path, scan, canonical, turn):
    canonical["diff3d"] = turn(canonical.pop("diffraction"))
    found = read_scan(save(tmp_path, canonical))
    same(found, scan)
    assert any("transposed" in n or "dropped" in n for n in found.notes)


@pytest.mark.parametrize("key", ["objectGuess", "probeGuess", "scan_index", "mask", "dark"])
def test_an_optional_array_that_is_pickled_is_left_out_and_said(tmp_path, scan, canonical, key):
    canonical[key] = np.array(None, dtype=object)
    found = read_scan(save(tmp_path, canonical))
    note(found, f"not used: {key} (pickled, which is never loaded)")
    assert len(found) == len(scan)
    canonical["xcoords"] = canonical["xcoords"].astype(object)
    with pytest.raises(InputError, match="'xcoords' cannot be read: it is pickled"):
        read_scan(save(tmp_path, canonical))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_the_root_of_counts_is_taken_and_said(tmp_path, scan, canonical, dtype):
    counts = np.rint(scan.amplitude_nHW.astype(np.float64) ** 2 * 100)
    canonical["diff3d"] = counts.astype(dtype)
    del canonical["diffraction"]
    found = read_scan(save(tmp_path, canonical))
    np.testing.assert_allclose(found.amplitude_nHW**2, counts, rtol=1e-6)
    assert found.intensity_scale == 1
    note(found, "root taken")
    told = read_scan(tmp_path / "scan.npz", ScanConventions(values="amplitude"))
    np.testing.assert_array_equal(told.amplitude_nHW, counts)


def test_the_zero_frequency_is_found_in_the_corner_and_moved(tmp_path, scan, canonical):
    canonical["diffraction"] = np.fft.ifftshift(canonical["diffraction"], axes=(1, 2))
    found = read_scan(save(tmp_path, canonical))
    same(found, scan)
    note(found, "zero frequency in the corner")


def test_one_of_several_scans_must_be_chosen(tmp_path, scan, canonical):
    canonical["scan_index"] = np.arange(len(scan)) // 5
    path = save(tmp_path, canonical)
    with pytest.raises(InputError, match="holds .* scans .* choose one with --scan-index"):
        read_scan(path)
    found = read_scan(path, ScanConventions(scan_index=1))
    np.testing.assert_allclose(found.positions_n2, scan.positions_n2[5:10])
    with pytest.raises(InputError, match="has no scan 99"):
        read_scan(path, ScanConventions(scan_index=99))


def tike(scan):
    counts = np.rint(scan.amplitude_nHW.astype(np.float64) ** 2 * 1000)
    return {
        "data": np.fft.ifftshift(counts, axes=(1, 2))[None].astype(np.float32),
        "scan": scan.positions_n2[None].astype(np.float32),
        "probe": scan.probe_MHW[None, None, None],
    }


@pytest.mark.parametrize("packed", [False, True])
def test_the_layout_of_tike_packed_or_not(tmp_path, scan, packed):
    path = save(tmp_path, tike(scan))
    if packed:
        path = tmp_path / "scan.npz.bz2"
        path.write_bytes(bz2.compress((tmp_path / "scan.npz").read_bytes()))
    found = read_scan(path)
    np.testing.assert_allclose(found.positions_n2, scan.positions_n2, atol=1e-5)
    counts = np.fft.fftshift(tike(scan)["data"][0], axes=(1, 2))
    np.testing.assert_allclose(found.amplitude_nHW**2, counts, rtol=1e-5)
    assert found.intensity_scale == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted({"scan.npz", path.name})


def test_one_image_of_a_split(tiny_dataset):
    found = read_scan(tiny_dataset.splits["test"])
    assert found.amplitude_nHW.ndim == 3
    assert found.intensity_scale > 1
    note(found, "split of the study")
    with pytest.raises(InputError, match="has no image 7; it has 1"):
        read_scan(tiny_dataset.splits["test"], ScanConventions(image=7))


def test_a_part_of_the_frames_stays_where_it_is_in_the_whole(tmp_path, canonical):
    del canonical["objectGuess"]
    canonical["ycoords"] = canonical["ycoords"][::-1].copy() - 100
    path = save(tmp_path, canonical)
    whole, part = read_scan(path), read_scan(path, ScanConventions(n_images=7))
    assert len(part) == 7
    np.testing.assert_array_equal(part.positions_n2, whole.positions_n2[:7])
    assert 0 <= whole.positions_n2.min() < 1
