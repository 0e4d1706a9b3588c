"""Reading a split: files of other programs load, damaged and foreign ones get one clear error."""

import numpy as np
import pytest

from ptycho_torch.data.dataset_file import read_split
from ptycho_torch.runtime.errors import InputError


@pytest.fixture
def arrays(tiny_dataset):
    return dict(np.load(tiny_dataset.splits["test"]))


@pytest.fixture
def written(tmp_path, arrays):
    def write(**changes):
        path = tmp_path / "split.npz"
        data = {**arrays, **changes}
        np.savez(path, **{k: v for k, v in data.items() if v is not None})
        return path

    return write


def test_our_own_file_reads_back_as_written(written, arrays):
    split = read_split(written(), patch_px=16)
    np.testing.assert_array_equal(split.arrays["diffraction"], arrays["diffraction"])
    assert split.norm_Y_I == float(arrays["norm_Y_I"])
    assert split.diffraction_nCHW.shape == (len(arrays["diffraction"]), 1, 16, 16)
    assert split.probe_MHW.shape == (1, 16, 16)


def test_a_probe_is_one_complex_array_round_the_centre(written, arrays, caplog):
    probe = arrays["probeGuess"]
    with pytest.raises(InputError, match="'probeGuess' .* real and imaginary part.*store it"):
        read_split(written(probeGuess=np.stack([probe.real, probe.imag])), patch_px=16)
    split = read_split(written(probeGuess=np.fft.ifftshift(probe)[None]), patch_px=16)
    np.testing.assert_array_equal(split.probe_MHW[0], probe)
    assert "the probe lies in the corners" in caplog.text


@pytest.mark.parametrize("key", ["Y_I", "norm_Y_I"])
def test_an_optional_array_that_is_pickled_is_left_out_and_said(written, caplog, key):
    split = read_split(written(**{key: np.array(None, dtype=object)}), patch_px=16)
    assert key not in split.arrays
    assert f"'{key}' is pickled, which is never loaded: left out" in caplog.text
    with pytest.raises(InputError, match="'coords_nominal' cannot be read: it is pickled"):
        read_split(written(coords_nominal=np.array(None, dtype=object)), patch_px=16)


def test_extra_keys_float64_and_missing_scalars_load_and_are_said(written, arrays, caplog):
    gone = dict.fromkeys(("norm_Y_I", "intensity_scale", "image_index"))
    double = arrays["diffraction"].astype(np.float64)
    path = written(**gone, comment=np.array("made elsewhere"), diffraction=double)
    split = read_split(path, patch_px=16, photons=1e4)
    assert split.arrays["diffraction"].dtype == np.float32
    assert split.norm_Y_I == pytest.approx(float(arrays["norm_Y_I"]), rel=1e-5)
    power = np.square(arrays["diffraction"], dtype=float).sum(axis=(1, 2)).mean()
    assert split.intensity_scale == pytest.approx((1e4 / power) ** 0.5)
    assert split.intensity_scale_source == "given"
    np.testing.assert_array_equal(split.arrays["image_index"], arrays["image_index"])
    assert "has no norm_Y_I; measured" in caplog.text
    assert "10000 photons a frame give s" in caplog.text


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("diffraction", None, "has no array 'diffraction'; it has: Y_I"),
        ("diffraction", np.ones((5, 16, 16), np.float32), r"is \(5, 16, 16\) .*expected real \(n, 16, 16, C\)"),
        ("diffraction", np.array("a"), "expected real"),
        ("probeGuess", np.ones((8, 8), np.complex64), r"'probeGuess' is .*expected complex \(16, 16\) or"),
        ("probeGuess", np.zeros((16, 16)), "'probeGuess' is zero everywhere"),
        ("coords_offsets", np.zeros((1, 1, 2, 1)), "'coords_offsets' is"),
        ("image_index", np.full(121, 5), "'image_index' runs from 5 to 5, 'YY_full' has 1 images"),
        ("YY_full", np.ones((1, 56, 56)), r"'YY_full' is .*expected complex \(images, height, width, 1\)"),
        ("YY_full", np.zeros((1, 56, 56, 1)), "'YY_full' is zero everywhere"),
        ("norm_Y_I", np.zeros(2), "'norm_Y_I' is .2,. float64"),
        ("intensity_scale", np.array(-1.0), "'intensity_scale' must be one number > 0"),
    ],
)  # fmt: skip
def test_each_wrong_array_is_named_with_what_was_expected(written, key, value, message):
    path = written(**{key: value})
    with pytest.raises(InputError, match=message) as caught:
        read_split(path, patch_px=16)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("value", "message"),
    [(np.nan, "1 values that are NaN"), (1e300, "infinite"), (-1, "negative")],
)
def test_unusable_values_are_refused(written, arrays, value, message):
    frames = arrays["diffraction"].astype(float)
    frames[3, 2, 1, 0] = value
    with pytest.raises(InputError, match=f"'diffraction' has .*{message}"):
        read_split(written(diffraction=frames), patch_px=16)
