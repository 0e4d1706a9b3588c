"""Reading a split: files of other programs load, damaged and foreign ones get one clear error."""

import logging
import pickle

import numpy as np
import pytest

from ptycho_torch.data.dataset_file import read_split
from ptycho_torch.files import io
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


def with_value(array, value):
    array = array.copy()
    array[3, 2, 1, 0] = value
    return array


def test_our_own_file_reads_back_as_written(written, arrays):
    split = read_split(written(), patch_px=16)
    np.testing.assert_array_equal(split.arrays["diffraction"], arrays["diffraction"])
    assert split.norm_Y_I == float(arrays["norm_Y_I"])
    assert split.diffraction_nCHW.shape == (len(arrays["diffraction"]), 1, 16, 16)
    assert split.probe_MHW.shape == (1, 16, 16)


def test_extra_keys_float64_and_missing_scalars_load_and_are_said(written, arrays, caplog):
    path = written(
        norm_Y_I=None,
        intensity_scale=None,
        image_index=None,
        comment=np.array("made elsewhere"),
        diffraction=arrays["diffraction"].astype(np.float64),
    )
    with caplog.at_level(logging.WARNING):
        split = read_split(path, patch_px=16)
    assert split.arrays["diffraction"].dtype == np.float32
    assert split.norm_Y_I == pytest.approx(float(arrays["norm_Y_I"]), rel=1e-5)
    assert split.intensity_scale == pytest.approx(1e9**0.5 / 8)
    np.testing.assert_array_equal(split.arrays["image_index"], arrays["image_index"])
    assert "has no norm_Y_I; measured" in caplog.text and "sqrt(photons)/(N/2)" in caplog.text


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def test_pickled_metadata_is_skipped_with_a_warning_and_never_unpickled(written, caplog):
    path = written(_metadata=np.array({"by": Bomb()}, dtype=object))
    with pytest.raises(BaseException, match="executed"):
        pickle.loads(pickle.dumps(Bomb()))  # the bomb works
    with caplog.at_level(logging.WARNING):
        read_split(path, patch_px=16)
    assert "_metadata is a pickled object; skipped, never unpickled" in caplog.text


def test_pickled_diffraction_is_refused(written):
    with pytest.raises(InputError, match="array 'diffraction' cannot be read"):
        read_split(written(diffraction=np.array([Bomb()], dtype=object)), patch_px=16)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("diffraction", None, "has no array 'diffraction'; it has: Y_I"),
        ("diffraction", np.ones((5, 16, 16), np.float32), r"shape \(5, 16, 16\), expected \(n, 16, 16, C\)"),
        ("diffraction", np.ones((5, 8, 8, 1), np.float32), r"expected \(n, 16, 16, C\).* since patch_px is 16"),
        ("diffraction", np.ones((0, 16, 16, 1), np.float32), "n, C > 0"),
        ("diffraction", np.array(["a"]), "expected real numbers"),
        ("diffraction", np.zeros((121, 16, 16, 1)), "zero everywhere|shape"),
        ("Y_I", np.ones((5, 16, 16, 1), np.float32), "array 'Y_I' has shape"),
        ("probeGuess", np.ones((8, 8), np.complex64), "array 'probeGuess' has shape"),
        ("probeGuess", None, "has no array 'probeGuess'"),
        ("coords_offsets", np.zeros((1, 1, 2, 1)), "array 'coords_offsets' has shape"),
        ("image_index", np.zeros(3, int), "array 'image_index' has shape"),
        ("probeGuess", np.zeros((16, 16)), "'probeGuess' is zero everywhere"),
        ("probeGuess", np.ones((0, 16, 16)), "array 'probeGuess' has shape"),
        ("YY_full", np.ones((1, 56, 56)), r"'YY_full' has shape \(1, 56, 56\), expected \(images, h, w, 1\)"),
        ("YY_full", np.zeros((1, 56, 56, 1)), "'YY_full' is zero everywhere"),
        ("YY_full", np.ones((1, 8, 8, 1)), "smaller than a patch"),
        ("image_index", np.full(121, 5), "'image_index' runs from 5 to 5, 'YY_full' has 1 images"),
        ("image_index", np.full(121, 0.5), "whole numbers"),
        ("norm_Y_I", np.zeros(2), "'norm_Y_I' must be one number > 0"),
        ("intensity_scale", np.array(-1.0), "'intensity_scale' must be one number > 0"),
    ],
)  # fmt: skip
def test_each_wrong_array_is_named_with_what_was_expected(written, key, value, message):
    path = written(**{key: value})
    with pytest.raises(InputError, match=message) as caught:
        read_split(path, patch_px=16)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(("value", "message"), [(np.nan, "1 values that are NaN"), (np.inf, "infinite"), (-1, "negative")])  # fmt: skip
def test_unusable_values_are_refused(written, arrays, value, message):
    with pytest.raises(InputError, match=f"'diffraction' has .*{message}"):
        read_split(written(diffraction=with_value(arrays["diffraction"], value)), patch_px=16)


def test_values_too_large_for_float32_are_refused(written, arrays):
    data = with_value(arrays["diffraction"].astype(np.float64), 1e300)
    with pytest.raises(InputError, match="NaN or infinite"):
        read_split(written(diffraction=data), patch_px=16)


def test_intensities_instead_of_amplitudes_are_warned_of_and_amplitudes_are_not(
    written, arrays, caplog
):
    with caplog.at_level(logging.WARNING):
        read_split(written(), patch_px=16)
    assert "intensities" not in caplog.text
    with caplog.at_level(logging.WARNING):
        read_split(written(diffraction=arrays["diffraction"] ** 2), patch_px=16)
    assert "'diffraction' seems to hold intensities" in caplog.text


def test_whole_numbers_without_a_truth_are_warned_of(written, arrays, caplog):
    counts = np.rint(1000 * arrays["diffraction"] ** 2)
    with caplog.at_level(logging.WARNING):
        read_split(written(diffraction=counts, Y_I=None, Y_phi=None), patch_px=16)
    assert "photon counts?" in caplog.text


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(written, keep):
    path = written()
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(InputError, match="truncated"):
        read_split(path, patch_px=16)


def test_a_changed_byte_is_refused_by_checksum_and_by_the_archive(written):
    path = written()
    expected = io.sha256(path)
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="SHA-256 is .*, expected"):
        read_split(path, patch_px=16, sha256=expected)
    with pytest.raises(InputError, match="cannot be read"):
        read_split(path, patch_px=16)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"\x93NUMPY\x01\x00"])
def test_files_of_another_kind_are_refused(tmp_path, content):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.npz"):
        read_split(path, patch_px=16)


def test_a_folder_or_a_missing_file_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "nope.npz"):
        with pytest.raises(InputError, match="cannot be read"):
            read_split(path, patch_px=16)


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "a.npz"
    io.write_npz(path, {"x": np.ones(3)})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="pickle|Object"):
        io.write_npz(path, {"x": np.ones(3), "y": np.array([{}], dtype=object)})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_no_message_advises_to_unpickle(tmp_path, written):
    path = tmp_path / "text.npz"
    path.write_text("no archive at all")
    for bad in (path, written(diffraction=np.array([{}], dtype=object))):
        with pytest.raises(InputError) as caught:
            read_split(bad, patch_px=16)
        assert "allow_pickle" not in str(caught.value)


def test_a_header_that_claims_a_terabyte_is_refused(tmp_path, written):
    import zipfile

    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (999999999, 16, 16, 1), }"
    header += b" " * (117 - len(header)) + b"\n"
    path = tmp_path / "claims.npz"
    with zipfile.ZipFile(written()) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "diffraction.npy":
                data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
            target.writestr(name, data)
    with pytest.raises(InputError, match="array 'diffraction' cannot be read"):
        read_split(path, patch_px=16)


def test_names_in_tables_stay_words(tmp_path):
    """An arm may be called 1, NA or 1e5; numbers beside it stay numbers."""
    path = tmp_path / "runs.csv"
    path.write_text("dataset,arm,seed\nd,1,0\nd,NA,1\nd,1e5,2\n")
    table = io.read_csv(path)
    assert table["arm"].tolist() == ["1", "NA", "1e5"]
    assert table["seed"].tolist() == [0, 1, 2]
    path.write_text("epoch,loss\n1,0.5\n")
    assert io.read_csv(path)["loss"].tolist() == [0.5]


def test_npz_is_written_as_numpy_does_and_objects_are_refused(tmp_path):
    """Arrays longer than a piece, without elements, of no dimension, not contiguous, of words."""
    arrays = {
        "long": np.arange(300_001, dtype=np.float32),
        "none": np.empty((0, 3), np.complex64),
        "scalar": np.array(2.5),
        "turned": np.arange(12.0).reshape(3, 4).T,
        "cut": np.arange(12, dtype=np.int16)[::2],
        "words": np.array(["a", "äö"]),
        "truths": np.ones((2, 2), bool),
        "parts": np.zeros(2, dtype=[("é", "f4"), ("n", "i8")]),
    }
    io.write_npz(tmp_path / "ours.npz", arrays)
    np.savez(tmp_path / "numpys.npz", **arrays)
    assert (tmp_path / "ours.npz").read_bytes() == (tmp_path / "numpys.npz").read_bytes()
    with pytest.raises(ValueError, match="allow_pickle"):
        io.write_npz(tmp_path / "objects.npz", {"x": np.array([{}, None])})
    assert not (tmp_path / "objects.npz").exists()
