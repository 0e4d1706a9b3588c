"""What bad input gets: one line that says where, what came, what was expected and the cure."""

import h5py
import numpy as np
import pytest

from ptycho_torch.data.read import read_scan
from ptycho_torch.runtime.errors import InputError


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
    ("diffraction", lambda f: f * 1j, "is .* complex64, expected real .*simulated wave"),
    ("diffraction", lambda f: np.full(f.shape, "many"), "is .* <U4, expected real .n, N, N."),
    ("diffraction", lambda f: f[:, :, 1:], "is .*16, 15. float32, expected real .n, N, N."),
    ("diffraction", lambda f: f * 0, "frames are zero everywhere: no light"),
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


@pytest.mark.parametrize(
    ("reading", "reason"),
    [
        ({"units": "metres"}, "cannot be converted to pixels: the file has no geometry; give"),
        ({"origin": "corner"}, "outside the object"),
    ],
)
def test_conventions_that_the_file_contradicts_are_refused(read_npz, canonical, reading, reason):
    with pytest.raises(InputError, match=reason):
        read_npz(canonical, **reading)


def test_hdf5_of_another_kind_is_named_with_what_it_has(tmp_path):
    with h5py.File(tmp_path / "a.cxi", "w") as file:
        file["measurement/data"] = np.ones((4, 16, 16))
    with pytest.raises(InputError, match="no CXI file: has no '/entry_1'; it has: measurement"):
        read_scan(tmp_path / "a.cxi")


def test_nan_under_the_mask_is_no_matter(read_npz, canonical):
    canonical["diffraction"][:5, 3, 4] = np.nan
    canonical["good_pixels"] = np.ones((1, 16, 16), bool)
    canonical["good_pixels"][0, 3, 4] = False
    scan = read_npz(canonical)
    assert np.isfinite(scan.amplitude_nHW).all() and not scan.good_1HW[0, 3, 4]
