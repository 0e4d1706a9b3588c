"""What bad input gets: one line that says where, what came, what was expected and the cure."""

import bz2
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.convert import convert_scan
from ptycho_torch.data.read import read_scan
from ptycho_torch.runtime.errors import InputError


def frame_with(value, frame=2, dtype=None):
    def change(a):
        a["diffraction"] = a["diffraction"].astype(dtype or a["diffraction"].dtype)
        a["diffraction"][frame, 3, 4] = value

    return change


def changed(**change):
    return lambda a: a.update({k: v(a) if callable(v) else v for k, v in change.items()})


BAD_ARRAYS = {
    "windows .* outside the object of .*; are the positions in pixels, and of the corner": changed(
        xcoords=lambda a: a["xcoords"] + 100
    ),
    "all .* frames have the position .*; expected a scan": changed(
        xcoords=lambda a: np.full_like(a["xcoords"], 20.0),
        ycoords=lambda a: np.full_like(a["ycoords"], 20.0),
    ),
    "only 2 distinct positions, so most are duplicates": changed(
        xcoords=lambda a: np.repeat([20.0, 21.0], [9, len(a["xcoords"]) - 9]),
        ycoords=lambda a: np.full_like(a["ycoords"], 20.0),
    ),
    "1 of .* frames hold NaN or infinity, the first is frame 2; remove them, or mask": frame_with(
        np.nan
    ),
    "1 pixels are negative, the first in frame 2; counts and amplitudes are >= 0": frame_with(-1.0),
    "frames hold 1e.60, too large for float32": frame_with(1e60, dtype=np.float64),
    "the position of frame 1 is not finite": lambda a: a["ycoords"].__setitem__(1, np.inf),
    "'xcoords' has 3 values and 'ycoords'": changed(xcoords=lambda a: a["xcoords"][:3]),
    "'diffraction' has 5 frames and 'xcoords' .* values": changed(
        diffraction=lambda a: a["diffraction"][:5]
    ),
    "'diffraction' is complex .*expected measured amplitudes": changed(
        diffraction=lambda a: a["diffraction"] * 1j
    ),
    "'diffraction' has type <U4, expected real numbers": changed(
        diffraction=lambda a: np.full(a["diffraction"].shape, "many")
    ),
    "'diffraction' has shape .0, 16, 16., expected": changed(
        diffraction=lambda a: a["diffraction"][:0],
        xcoords=lambda a: a["xcoords"][:0],
        ycoords=lambda a: a["ycoords"][:0],
    ),
    "frames of 'diffraction' are 16 x 15 px, expected squares": changed(
        diffraction=lambda a: a["diffraction"][:, :, 1:]
    ),
    "frames are zero everywhere: no light": changed(diffraction=lambda a: a["diffraction"] * 0),
    "probe_MHW is .1, 12, 12., expected .M, 16, 16., the frames' size": changed(
        probeGuess=lambda a: a["probeGuess"][2:-2, 2:-2]
    ),
    "probe_MHW is not finite, or zero everywhere": changed(
        probeGuess=lambda a: a["probeGuess"] * np.nan
    ),
    "'probeGuess' has type <U1, expected complex numbers": changed(
        probeGuess=np.full((16, 16), "p")
    ),
    "'objectGuess' has shape .2, 40, 44., expected one image": changed(
        objectGuess=lambda a: np.stack([a["objectGuess"]] * 2)
    ),
    "has no array 'ycoords'; positions need both": lambda a: a.pop("ycoords"),
    "'diffraction' and 'diff3d' differ": changed(diff3d=lambda a: a["diffraction"] + 1),
    "'scan_index' has 2 values": changed(scan_index=np.zeros(2)),
    "'intensity_scale' must be one number > 0, got -1": changed(intensity_scale=-1),
    "'good_pixels' has type int64, expected booleans": changed(
        good_pixels=np.ones((1, 16, 16), int)
    ),
    "the mask is .1, 15, 16., expected": changed(good_pixels=np.ones((1, 15, 16), bool)),
    "every pixel is masked or saturated": changed(good_pixels=np.zeros((1, 16, 16), bool)),
    "'objectGuess' cannot be read: it is pickled, which is never loaded": changed(
        objectGuess=np.array([{}], object)
    ),
    "has frames and no positions": lambda a: (a.pop("xcoords"), a.pop("ycoords")),
    "is no file of measurements that is known here": lambda a: (a.clear(), a.update(x=np.ones(3))),
}


@pytest.mark.parametrize("reason", BAD_ARRAYS)
def test_bad_arrays_are_refused_in_one_line(tmp_path, canonical, reason):
    canonical = {key: np.array(value) for key, value in canonical.items()}
    BAD_ARRAYS[reason](canonical)
    path = tmp_path / "scan.npz"
    np.savez(path, **canonical)
    with pytest.raises(InputError, match=reason) as error:
        convert_scan(path, tmp_path / "new" / "out.npz", ScanConventions())
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "new").exists()


def whole(folder):
    (folder / "a.npz").write_bytes(b"")
    return folder / "a.npz"


def half(folder):
    np.savez(
        folder / "a.npz", diffraction=np.ones((4, 16, 16)), xcoords=np.ones(4), ycoords=[1] * 4
    )
    (folder / "a.npz").write_bytes((folder / "a.npz").read_bytes()[:3000])
    return folder / "a.npz"


def half_packed(folder):
    (folder / "a.npz.bz2").write_bytes(bz2.compress(np.random.default_rng(0).bytes(9000))[:4000])
    return folder / "a.npz.bz2"


def packed_text(folder):
    (folder / "a.npz.bz2").write_bytes(bz2.compress(b"a letter"))
    return folder / "a.npz.bz2"


def text(folder):
    (folder / "a.npz").write_text("a letter")
    return folder / "a.npz"


def one_array(folder):
    np.save(folder / "a.npy", np.ones(3))
    return folder / "a.npy"


def other_hdf5(folder):
    with h5py.File(folder / "a.cxi", "w") as file:
        file["measurement/data"] = np.ones((4, 16, 16))
    return folder / "a.cxi"


def half_hdf5(folder):
    other_hdf5(folder)
    (folder / "a.cxi").write_bytes((folder / "a.cxi").read_bytes()[:2500])
    return folder / "a.cxi"


BAD_FILES = {
    "is empty": whole,
    "is not an NPZ file, or is truncated|cannot be read": half,
    "is not an NPZ file, or is truncated .*end-of-stream": half_packed,
    "is not an NPZ file, or is truncated .*never loaded": packed_text,
    "is not an NPZ file, or is truncated": text,
    "is a single array": one_array,
    "is HDF5 but no CXI file: has no '/entry_1'; it has: measurement": other_hdf5,
    "is no whole HDF5 file .*truncated": half_hdf5,
    "Is a directory": lambda folder: folder,
    "No such file": lambda folder: folder / "none.npz",
}


@pytest.mark.parametrize("reason", BAD_FILES)
def test_bad_files_are_refused_in_one_line(tmp_path, reason):
    path = BAD_FILES[reason](tmp_path)
    with pytest.raises(InputError, match=reason) as error:
        read_scan(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("reading", "reason"),
    [
        (ScanConventions(format="tike"), "has the layout 'npz', not 'tike'"),
        (ScanConventions(format="cxi"), "is no HDF5 file, as CXI is"),
        (
            ScanConventions(units="metres"),
            "cannot be converted to pixels: the file has no geometry; give",
        ),
        (ScanConventions(saturation_counts=1e-9), "every pixel is masked or saturated"),
        (ScanConventions(origin="corner"), "outside the object"),
    ],
)
def test_a_reading_that_the_file_contradicts_is_refused(tmp_path, canonical, reading, reason):
    canonical["diffraction"] = canonical["diffraction"] + 0.01
    np.savez(tmp_path / "scan.npz", **canonical)
    with pytest.raises(InputError, match=reason):
        read_scan(tmp_path / "scan.npz", reading)


def test_a_few_repeated_positions_are_exposures_and_said(tmp_path, canonical):
    for key in ("xcoords", "ycoords"):
        canonical[key][5] = canonical[key][4]
    np.savez(tmp_path / "scan.npz", **canonical)
    notes = read_scan(tmp_path / "scan.npz").notes
    assert "1 frames repeat an earlier position: taken as repeated exposures" in notes


def test_saturated_and_full_pixels_are_masked_and_said(tmp_path, canonical):
    counts = np.rint(canonical.pop("diffraction").astype(float) ** 2 * 100).astype(np.uint16)
    counts[3, 2, 2] = 65535
    brightest = np.sort(counts[counts < 65535])[-4]
    np.savez(tmp_path / "scan.npz", diff3d=counts, **canonical)
    scan = read_scan(tmp_path / "scan.npz")
    assert np.argwhere(~scan.good_1HW).tolist() == [[3, 2, 2]]
    assert scan.amplitude_nHW[3, 2, 2] == 0
    assert any("1 pixels in 1 frames masked: at 65535" in note for note in scan.notes)
    scan = read_scan(tmp_path / "scan.npz", ScanConventions(saturation_counts=float(brightest)))
    assert (~scan.good_1HW).sum() >= 5
    np.testing.assert_array_equal(~scan.good_1HW, counts >= brightest)


def test_nan_under_the_mask_is_no_matter(tmp_path, canonical):
    canonical["diffraction"][:, 3, 4] = np.nan
    canonical["good_pixels"] = np.ones((1, 16, 16), bool)
    canonical["good_pixels"][0, 3, 4] = False
    np.savez(tmp_path / "scan.npz", **canonical)
    scan = read_scan(tmp_path / "scan.npz")
    assert np.isfinite(scan.amplitude_nHW).all()
    assert not scan.good_1HW[0, 3, 4]


def test_converting_a_file_onto_itself_is_refused(tmp_path, canonical):
    np.savez(tmp_path / "scan.npz", **canonical)
    before = (tmp_path / "scan.npz").read_bytes()
    with pytest.raises(InputError, match="is the file that is read"):
        convert_scan(tmp_path / "scan.npz", Path(tmp_path / "." / "scan.npz"), ScanConventions())
    assert (tmp_path / "scan.npz").read_bytes() == before
