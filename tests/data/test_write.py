"""What is written is read back equal, and its own probe and object predict it."""

import dataclasses

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.compare import same

from ptycho_torch.data.geometry import Geometry
from ptycho_torch.data.predict import WITHIN_NOISE, noise_of_roots, prediction_error
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.scan import Scan
from ptycho_torch.data.write import write_scan, write_scan_cxi
from ptycho_torch.physics.predict import predict_amplitudes
from ptycho_torch.runtime.errors import InputError

LAYOUTS = ("scan.npz", "scan.cxi")


@pytest.mark.parametrize("name", LAYOUTS)
def test_masks_and_counts_survive(made, tmp_path, name):
    scan = made.a_scan(counts=1e5)
    counts = np.rint((scan.amplitude_nHW * scan.intensity_scale) ** 2.0)
    good = np.random.default_rng(0).random(counts.shape) > 0.1
    scan = dataclasses.replace(
        scan,
        amplitude_nHW=np.where(good, np.sqrt(counts), 0).astype(np.float32),
        good_1HW=good,
        intensity_scale=1.0,
    )
    write_scan(tmp_path / name, scan)
    same(read_scan(tmp_path / name), scan, atol=0)
    if name.endswith("cxi"):
        with h5py.File(tmp_path / name) as file:
            assert file["/entry_1/data_1/data"].dtype == np.int32


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_any_scan_survives_both_layouts(tmp_path_factory, data):
    frames = data.draw(st.integers(2, 5))
    side = data.draw(st.sampled_from([5, 6]))
    shape = (data.draw(st.integers(20, 25)), data.draw(st.integers(20, 25)))
    place = st.floats(0, 12, allow_nan=False, width=32)
    positions = data.draw(
        st.lists(st.tuples(place, place), min_size=frames, max_size=frames, unique=True)
    )
    stream = np.random.default_rng(data.draw(st.integers(0, 9)))
    probe, thing = (
        (stream.normal(size=s) + 1j * stream.normal(size=s)).astype(np.complex64)
        for s in ((2, side, side), shape)
    )
    scan = Scan(
        source="drawn",
        amplitude_nHW=stream.random((frames, side, side)).astype(np.float32),
        positions_n2=np.array(positions, np.float64),
        probe_MHW=probe,
        object_YX=thing,
        intensity_scale=data.draw(st.sampled_from([None, 3.7])),
    )
    folder = tmp_path_factory.mktemp("any")
    for name in LAYOUTS:
        write_scan(folder / name, scan)
        same(read_scan(folder / name), scan, atol=0)


def test_predictions_equal_the_patterns_at_fractional_positions(made):
    scan = made.a_scan(modes=2)
    found = predict_amplitudes(scan.object_YX, scan.probe_MHW, scan.positions_n2)
    np.testing.assert_allclose(found, scan.amplitude_nHW, atol=2e-5)
    assert prediction_error(scan)[0] < 1e-5
    rounded = dataclasses.replace(scan, positions_n2=np.round(scan.positions_n2))
    assert prediction_error(rounded)[0] > 0.02


@pytest.mark.parametrize("counts", [50, 1e5])
def test_noisy_patterns_are_equal_within_the_photon_noise_and_others_are_not(made, counts):
    scan = made.a_scan(counts=counts)
    error, noise = prediction_error(scan)
    assert noise == pytest.approx(error, rel=0.05)
    moved = dataclasses.replace(scan, positions_n2=scan.positions_n2[::-1].copy())
    error, noise = prediction_error(moved)
    assert error > WITHIN_NOISE * noise


def test_the_noise_of_a_root_by_hand():
    # Few photons: K is 0 or 1, so the mean of (sqrt K - sqrt m)^2 is about 2 m.
    np.testing.assert_allclose(noise_of_roots(np.array([1e-4, 1e6])), [2e-4, 0.25], rtol=0.02)
    drawn = np.random.default_rng(0).poisson(3.0, 200_000)
    assert noise_of_roots(np.array([3.0]))[0] == pytest.approx(
        np.square(np.sqrt(drawn) - 3**0.5).mean(), rel=0.02
    )


def test_a_cxi_file_has_what_the_standard_asks_for(made, tmp_path):
    """The rules of the standard's validator (cxidb/CXI, validate_cxi.py), and SI units."""
    geometry = Geometry(wavelength_m=2e-10, distance_m=1.5, pixel_m=(5e-5, 7e-5))
    scan = made.a_scan(modes=2, counts=1e4)
    write_scan_cxi(tmp_path / "scan.cxi", scan, geometry)
    same(read_scan(tmp_path / "scan.cxi"), scan, atol=0)
    with h5py.File(tmp_path / "scan.cxi") as file:
        assert file["cxi_version"][()] == 160
        assert file["number_of_entries"][()] == 1
        entry = file["entry_1"]
        data, detector = entry["data_1/data"], entry["instrument_1/detector_1"]
        axes = data.attrs["axes"]
        assert axes.split(":") == ["translation", "y", "x"]
        for group in (entry["data_1"], detector):
            assert group["translation"].shape == (len(scan), 3)
        assert data == detector["data"]
        assert isinstance(entry.get("data_1/data", getlink=True), h5py.SoftLink)
        lengths = [detector[key][()] for key in ("distance", "x_pixel_size", "y_pixel_size")]
        assert lengths == [1.5, 7e-5, 5e-5]
        np.testing.assert_array_equal(detector["basis_vectors"], [[0, -5e-5, 0], [-7e-5, 0, 0]])
        assert detector["corner_position"].shape == (3,)
        source = entry["instrument_1/source_1"]
        assert source["energy"][()] * source["wavelength"][()] == pytest.approx(1.98644586e-25)
        assert source["illumination"].dtype.kind == "c"
        for image in ("image_1", "image_2"):
            assert entry[image]["data_type"][()].decode() in ("amplitude", "electron density")
            assert entry[image]["data_space"][()].decode() == "real"
        # 2e-10 * 1.5 / (16 * 7e-5) metres a column, from the middle of the object.
        column = scan.positions_n2[3, 1] - (44 - 16) / 2
        assert data.parent["translation"][3, 0] == pytest.approx(column * 3e-10 / (16 * 7e-5))
        assert entry["ptycho_torch"].attrs["geometry"] == "given"


def test_the_same_scan_gives_the_same_bytes(scan, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_scan_cxi(tmp_path / name / "scan.cxi", scan)
    assert (tmp_path / "a/scan.cxi").read_bytes() == (tmp_path / "b/scan.cxi").read_bytes()


def test_other_endings_are_refused(scan, tmp_path):
    with pytest.raises(InputError, match="ends in '.tif', expected .npz or .cxi"):
        write_scan(tmp_path / "scan.tif", scan)
    assert not list(tmp_path.iterdir())
