"""What reading ends in: corrections, masks, light, probe and steps, each said, or refused with its cure."""

import h5py
import numpy as np
import pytest
from tests.data.conftest import note
from tests.samples import a_scan, object_pixel_m, write_cxi

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.read import read_scan
from ptycho_torch.runtime.errors import InputError

N, PHOTONS = 16, 1e5
DETECTOR = "entry_1/instrument_1/detector_1"
GAP = np.broadcast_to(np.arange(N) == 6, (N, N))


@pytest.fixture
def scan():
    return a_scan(counts=PHOTONS)


@pytest.fixture
def counts(scan):
    return np.rint((scan.amplitude_nHW.astype(float) * scan.intensity_scale) ** 2).astype(np.int64)


@pytest.fixture(params=["npz", "cxi"])
def read(request, tmp_path, scan, counts):
    """Write the scan with changed arrays as another program leaves it, and read it."""
    path = tmp_path / f"scan.{request.param}"

    def do(frames=counts, probe=scan.probe_MHW[0], positions=scan.positions_n2, extra=(), **how):
        rows, columns = positions.T
        if path.suffix == ".npz":
            arrays = {"diff3d": frames, "xcoords": columns + N // 2, "ycoords": rows + N // 2}
            np.savez(path, probeGuess=probe, **arrays, **dict(extra))
            return read_scan(path, ScanConventions(**how))
        write_cxi(path, scan)
        with h5py.File(path, "a") as file:
            image, data = "entry_1/image_1/data", f"{DETECTOR}/data"
            for name in ("entry_1/image_2", data, image, f"{DETECTOR}/mask"):
                del file[name]
            file[data], file[image] = frames, probe
            places = file["entry_1/sample_1/geometry_1/translation"]
            places[:, :2] = positions[:, ::-1] * object_pixel_m()
            for name, array in dict(extra).items():
                file[f"{DETECTOR}/{name}"] = array
        return read_scan(path, ScanConventions(**how))

    return do


def photons(scan):
    return float(np.square(scan.amplitude_nHW, dtype=float).sum(axis=(1, 2)).mean())


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("u4", 2**16 - 1), ("f4", 2**31 - 1), ("i8", 2**32 - 2), ("i2", -2), ("f4", np.nan)],
)
def test_pixels_that_hold_no_value_are_masked(read, counts, dtype, value):
    """Also where one frame has no mark."""
    frames = np.minimum(counts, 3e4).astype(dtype)
    frames[:, GAP] = value
    frames[0, GAP] = 17
    scan = read(frames)
    assert (scan.good_1HW == ~GAP).all()
    assert photons(scan) == pytest.approx(counts[:, ~GAP].sum() / len(counts), rel=1e-3)


def test_the_brightest_pixels_are_not_taken_for_marks(read, counts):
    """Neither what varies, nor what is constant and no mark."""
    frames = counts.astype("u4")
    frames[::2, 3, 3] = 2**32 - 2
    frames[:, 4, 4] = 99_999
    assert read(frames, outliers="keep").used.all()


@pytest.mark.parametrize("dtype", ["u1", "i8", "f4", "bool"])
def test_a_mask_of_any_type_is_read_and_said(read, counts, dtype):
    scan = read(extra={"mask": GAP.astype(dtype)})
    assert (scan.good_1HW == ~GAP).all()
    share = 100 * counts[:, GAP].sum() / counts.sum()
    assert f"mask: 16 of 256 pixels, {share:.3g} % of the light" in note(scan, "mask: ")
    assert "mask: none" in note(read(), "mask: ")


def test_a_mask_that_takes_most_of_the_light_is_the_other_way_round(read, request):
    extra = {"mask": (~GAP).astype("u4")}
    if "npz" in request.node.name:  # A name that says what it means.
        extra = {"bad_pixels": ~GAP}
    with pytest.raises(InputError, match=r"% of the light .* --mask-means good reads it"):
        read(extra=extra)
    assert (read(extra=extra, mask_means="good").good_1HW == ~GAP).all()
    assert (read(extra=extra, mask_means="bad").good_1HW == GAP).all()


@pytest.mark.parametrize(
    ("which", "factor", "words"),
    [
        (slice(5, 8), 0, "3 dark and 0 bright of 72 frames"),
        (slice(50, None), 0, "22 dark and 0 bright"),
        (slice(5, 6), 300, "0 dark and 1 bright"),
    ],
)
def test_frames_far_from_the_light_are_left_out(read, scan, counts, which, factor, words):
    frames = counts.copy()
    frames[which] = frames[which] * factor
    found = read(frames)
    note(found, words)
    keep = np.setdiff1d(np.arange(len(counts)), np.arange(len(counts))[which])
    apart = found.positions_n2 - scan.positions_n2[keep]
    np.testing.assert_allclose(apart, np.broadcast_to(apart[0], apart.shape), atol=1e-6)
    assert photons(found) == pytest.approx(counts[keep].sum() / len(keep), rel=1e-3)
    kept = read(frames, outliers="keep")
    assert len(kept) == len(counts) and "kept, as requested" in note(kept, words)


def test_a_scan_that_lost_its_beam_is_no_scan_whichever_half_is_the_larger(read, counts):
    """A little background in the dark frames makes them the median; the bright ones are the scan."""
    half, most = counts.copy(), counts.copy()
    half[:40] = 0
    most[30:] = np.random.default_rng(0).poisson(0.05, most[30:].shape)
    for frames, words in ((half, "40 dark"), (most, "30 bright")):
        with pytest.raises(InputError, match=f"{words} .* no scan of one light: give --outliers k"):
            read(frames)


def test_a_dark_field_is_subtracted_and_a_monitor_divided_by(read, counts):
    dark, monitor = {"data_dark": np.full((N, N), 40.0)}, np.linspace(1, 2, len(counts))
    found = read(counts + 40, extra=dark)
    assert photons(found) == pytest.approx(counts.sum() / len(counts), rel=1e-6)
    assert "subtracted" in note(found, "data_dark")
    ignored = read(counts + 40, extra=dark, corrections="ignore")
    assert photons(ignored) == pytest.approx((counts + 40).sum() / len(counts), rel=1e-6)
    beam = np.rint(counts * monitor[:, None, None]).astype("i4")
    beam[4:6], monitor[4:6] = 0, 0  # Lost for a moment.
    found = read(beam, extra={"monitor": monitor[:, None]})
    light = np.square(found.amplitude_nHW).sum(axis=(1, 2))
    lit = np.delete(np.arange(len(counts)), [4, 5])
    expected = counts[lit].sum(axis=(1, 2)) * monitor[lit].mean()
    np.testing.assert_allclose(light, expected, rtol=1e-3)


def test_marks_and_saturation_are_told_before_a_correction_changes_them(read, counts):
    frames = (np.minimum(counts, 3e4) + 40).astype("u2")
    frames[:, GAP] = 65535
    frames[7, 3, 3] = 65535
    dark = np.full((N, N), 40.0)
    scan = read(frames, extra={"data_dark": dark, "monitor": np.ones(len(counts))})
    assert not scan.good_1HW[..., GAP].any() and not scan.good_1HW[7, 3, 3]
    expected = np.minimum(counts, 3e4)[:, ~GAP].sum() / len(counts)
    assert photons(scan) == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize(
    ("extra", "reading", "words"),
    [
        ({"data_dark": np.ones(3)}, {}, "expected real .16, 16. or .*; --corrections ignore"),
        ({"monitor": np.ones(5)}, {}, "expected real .72.; --corrections ignore"),
        ({"data_dark": np.full((N, N), 1e4)}, {}, "brighter than the frames; .* already"),
        ({"monitor": np.zeros(72)}, {}, "must be > 0"),
        ({"monitor": np.ones(72)}, {"values": "amplitude"}, "correct intensities, and amplitudes"),
    ],
)
def test_a_correction_that_cannot_be_meant_is_refused(read, extra, reading, words):
    with pytest.raises(InputError, match=words):
        read(extra=extra, **reading)


@pytest.mark.parametrize("names", [("real", "imag"), ("r", "i"), ("Re", "Im")])
def test_a_pair_of_fields_is_a_complex_number(read, scan, names):
    probe = scan.probe_MHW[0]
    pair = np.zeros(probe.shape, [(name, "f4") for name in names])
    pair[names[0]], pair[names[1]] = probe.real, probe.imag
    np.testing.assert_allclose(read(probe=pair).probe_MHW[0], probe)


def test_a_probe_is_moved_to_the_centre_or_said_to_be_real(read, scan):
    """And what nothing reads is listed."""
    probe = scan.probe_MHW[0]
    found = read(probe=np.fft.ifftshift(probe))
    assert np.allclose(found.probe_MHW[0], probe) and note(found, "in the corners")
    found = read(probe=np.abs(probe).astype(complex), extra={"gain_map": np.ones((N, N))})
    assert note(found, "the probe is real") and "gain_map" in note(found, "not used: ")
    pair = np.stack([probe.real, probe.imag])
    for parts in (pair, np.moveaxis(pair, 0, -1)):
        with pytest.raises(InputError, match="real and imaginary part.*store it complex"):
            read(probe=parts)


@pytest.mark.parametrize("shape", ["ring", "off centre"])
def test_a_probe_that_is_wide_or_off_the_centre_is_left(read, shape):
    y, x = np.mgrid[:N, :N] - N // 2
    r = np.abs(np.hypot(y, x) - 0.42 * N) if shape == "ring" else np.hypot(y - 5, x - 5)
    probe = np.exp(-((2 * r / 3) ** 2) + 0.3j * x)
    assert np.allclose(read(probe=probe).probe_MHW[0], probe)


@pytest.mark.parametrize(
    ("factor", "words"), [(0.04, "hardly moves.*median step"), (100.0, "nothing in common")]
)
def test_steps_that_cannot_be_are_refused(read, scan, factor, words):
    with pytest.raises(InputError, match=words):
        read(positions=scan.positions_n2 * factor)


def test_fine_steps_of_a_scan_that_moves_are_read(read, scan):
    """Lines of a fly scan: a tenth of a pixel along the line, far between the lines."""
    lines = np.stack(np.divmod(np.arange(len(scan)), 24), axis=-1) * [6.0, 0.2]
    note(read(positions=lines), "median step 0.2 px")


@pytest.mark.parametrize("stack", ["first", "last"])
def test_a_cube_is_told_by_its_light(read_npz, scan, counts, stack):
    axis = {"first": 0, "last": -1}[stack]
    cube, (rows, columns) = counts[:N], scan.positions_n2[:N].T
    places = {"xcoords": columns + N // 2, "ycoords": rows + N // 2}
    found = read_npz({"diff3d": np.moveaxis(cube, 0, axis), **places})
    np.testing.assert_allclose(found.amplitude_nHW, cube**0.5, 1e-6)
    flat = {"diff3d": np.random.default_rng(0).poisson(5, (N, N, N)), **places}
    with pytest.raises(InputError, match="give --stack first or --stack last"):
        read_npz(flat)
    expected = np.moveaxis(flat["diff3d"], axis, 0) ** 0.5
    np.testing.assert_allclose(read_npz(flat, stack=stack).amplitude_nHW, expected, 1e-6)
