"""What reading ends in: corrections, masks, light, probe and steps, each said, or refused with its cure."""

import h5py
import numpy as np
import pytest
from tests.data.compare import note

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.geometry import MADE_UP
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.write import write_scan_cxi
from ptycho_torch.runtime.errors import InputError

N, PHOTONS = 16, 1e5
DETECTOR = "entry_1/instrument_1/detector_1"
GAP = np.zeros((N, N), bool)
GAP[:, 6] = True


@pytest.fixture
def scan(made):
    return made.a_scan(counts=PHOTONS)


@pytest.fixture
def counts(scan):
    return np.rint((scan.amplitude_nHW.astype(float) * scan.intensity_scale) ** 2).astype(np.int64)


@pytest.fixture(params=["npz", "cxi"])
def read(request, tmp_path, scan, counts):
    """Write the scan with changed arrays as another program leaves it, and read it."""
    path = tmp_path / f"scan.{request.param}"

    def do(frames=counts, probe=scan.probe_MHW[0], positions=None, reading=None, **extra):
        rows, columns = (scan.positions_n2 if positions is None else positions).T
        if path.suffix == ".npz":
            arrays = {"diff3d": frames, "xcoords": columns + N // 2, "ycoords": rows + N // 2}
            np.savez(path, probeGuess=probe, **arrays, **extra)
            return read_scan(path, reading or ScanConventions())
        write_scan_cxi(path, scan)
        with h5py.File(path, "a") as file:
            image, data = "entry_1/image_1/data", f"{DETECTOR}/data"
            for name in ("entry_1/ptycho_torch", "entry_1/image_2", data, image):
                del file[name]
            file[data], file[image] = frames, probe
            if positions is not None:
                places = file["entry_1/sample_1/geometry_1/translation"]
                places[:, :2] = positions[:, ::-1] * MADE_UP.object_pixel_m(N)[0]
            for name, array in extra.items():
                file[f"{DETECTOR}/{name}"] = array
        return read_scan(path, reading or ScanConventions())

    return do


def photons(scan):
    return float(np.square(scan.amplitude_nHW, dtype=float).sum(axis=(1, 2)).mean())


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        *(("u4", 2**16 - less) for less in (1, 2)),
        *((kind, 2**31 - less) for kind in ("i4", "f4", "i8") for less in (1, 2)),
        *((kind, 2**32 - less) for kind in ("u4", "f8", "u8") for less in (1, 2)),
        *(("i2", value) for value in (-1, -2, 32767)),
        ("f4", np.nan),
    ],
)
def test_pixels_that_hold_no_value_are_masked(read, counts, dtype, value):
    frames = np.minimum(counts, 3e4).astype(dtype)
    frames[:, GAP] = value
    scan = read(frames)
    assert (scan.good_1HW == ~GAP).all()
    assert photons(scan) == pytest.approx(counts[:, ~GAP].sum() / len(counts), rel=1e-3)


def test_the_brightest_pixels_are_not_taken_for_marks(read, counts):
    """Neither what varies, nor what is constant and no mark."""
    frames = counts.astype("u4")
    frames[1:, 3, 3] = 2**32 - 1
    frames[:, 4, 4] = 99_999
    assert read(frames, reading=ScanConventions(outliers="keep")).good_1HW[:, 4, 4].all()


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "bool"])
def test_a_mask_of_any_type_is_read_and_said(read, counts, dtype):
    scan = read(mask=GAP.astype(dtype))
    assert (scan.good_1HW == ~GAP).all()
    share = 100 * counts[:, GAP].sum() / counts.sum()
    assert f"mask: 16 of 256 pixels, {share:.3g} % of the light" in note(scan, "mask: ")
    assert "mask: none" in note(read(), "mask: ")


def test_a_mask_that_takes_most_of_the_light_is_the_other_way_round(read, request, counts):
    name = {"mask": (~GAP).astype("u4")}
    if "npz" in request.node.name:  # A name that says what it means.
        name = {"bad_pixels": ~GAP}
    with pytest.raises(InputError, match=r"% of the light .* --mask-means good reads it"):
        read(**name)
    assert (read(**name, reading=ScanConventions(mask_means="good")).good_1HW == ~GAP).all()
    kept = read(**name, reading=ScanConventions(mask_means="bad")).good_1HW
    assert (kept == GAP).all()


@pytest.mark.parametrize(
    ("which", "factor", "words"),
    [
        (slice(5, 8), 0, "3 dark and 0 bright of 72 frames"),
        (slice(50, None), 0, "22 dark and 0 bright"),
        (slice(5, 6), 300, "0 dark and 1 bright"),
        (slice(0, 1), 0.02, "1 dark and 0 bright"),
    ],
)
def test_frames_far_from_the_light_are_left_out(read, scan, counts, which, factor, words):
    frames = counts.copy()
    frames[which] = frames[which] * factor
    found = read(frames)
    keep = np.setdiff1d(np.arange(len(counts)), np.arange(len(counts))[which])
    assert note(found, words)
    apart = found.positions_n2 - scan.positions_n2[keep]
    np.testing.assert_allclose(apart, np.broadcast_to(apart[0], apart.shape), atol=1e-6)
    assert photons(found) == pytest.approx(counts[keep].sum() / len(keep), rel=1e-3)
    kept = read(frames, reading=ScanConventions(outliers="keep"))
    assert len(kept) == len(counts) and "kept, as requested" in note(kept, words)


def test_light_that_varies_as_specimens_and_beams_do_is_kept(read, counts):
    frames = np.rint(counts * np.geomspace(0.2, 5, len(counts))[:, None, None]).astype("i4")
    assert len(read(frames)) == len(counts)
    half = counts.copy()
    half[:40] = 0
    with pytest.raises(InputError, match="40 dark .* no scan of one light: give --outliers keep"):
        read(half)


def test_a_scan_that_lost_its_beam_is_no_scan_whichever_half_is_the_larger(read, counts):
    """A little background in the dark frames makes them the median; the bright ones are the scan."""
    frames = counts.copy()
    frames[30:] = np.random.default_rng(0).poisson(0.05, frames[30:].shape)
    with pytest.raises(InputError, match="30 bright .* no scan of one light"):
        read(frames)


def test_one_odd_frame_hides_no_mark(read, counts):
    frames = np.minimum(counts, 3e4).astype("u4")
    frames[:, GAP] = 2**32 - 1
    frames[3, GAP] = 17
    frames[5] = 2**32 - 1
    scan = read(frames)
    assert len(scan) == len(counts) - 1 and not scan.good_1HW[:, GAP].any()
    assert photons(scan) < 1.2 * PHOTONS


def test_a_saturated_pixel_makes_no_bright_frame(read, counts):
    frames = np.minimum(counts, 6e4).astype("u2")
    frames[4, :3] = 65535
    assert len(read(frames)) == len(counts)


def test_a_dark_field_is_subtracted_and_a_monitor_divided_by(read, counts):
    dark, monitor = np.full((N, N), 40.0), np.linspace(1, 2, len(counts))
    found = read(counts + 40, data_dark=dark)
    assert photons(found) == pytest.approx(counts.sum() / len(counts), rel=1e-6)
    assert "subtracted" in note(found, "data_dark")
    beam = np.rint(counts * monitor[:, None, None])
    for stored in (monitor, monitor[:, None], monitor[None]):
        found = read(beam.astype("i4"), monitor=stored)
        light = np.square(found.amplitude_nHW).sum(axis=(1, 2))
        expected = counts.sum(axis=(1, 2)) * monitor.mean()
        np.testing.assert_allclose(light, expected, rtol=1e-3)
    ignored = read(counts + 40, data_dark=dark, reading=ScanConventions(corrections="ignore"))
    assert photons(ignored) == pytest.approx((counts + 40).sum() / len(counts), rel=1e-6)


@pytest.mark.parametrize("mark", [65535, -1])
def test_marks_and_saturation_are_told_before_a_correction_changes_them(read, counts, mark):
    frames = (np.minimum(counts, 3e4) + 40).astype("i4" if mark < 0 else "u2")
    frames[:, GAP] = mark
    dark = np.where(GAP, 2.0**32 - 1, 40.0)
    frames[7, 3, 3] = np.iinfo(frames.dtype).max
    scan = read(frames, data_dark=dark, monitor=np.ones(len(counts)))
    assert not scan.good_1HW[..., GAP].any() and not scan.good_1HW[7, 3, 3]
    expected = np.minimum(counts, 3e4)[:, ~GAP].sum() / len(counts)
    assert photons(scan) == pytest.approx(expected, rel=1e-2)


def test_corrections_of_faint_frames_and_of_a_steady_beam_are_applied(read, counts):
    stream = np.random.default_rng(0)
    faint = stream.poisson(counts / 1e4 + 0.3)
    assert "subtracted" in note(read(faint, data_dark=np.full((N, N), 0.3)), "data_dark")
    beam = 1 + 0.005 * stream.normal(size=len(counts))
    assert note(read(counts, monitor=beam), "frames divided by")
    lost = counts.copy()
    lost[4:6], beam[4:6] = 0, 0
    assert len(read(lost, monitor=beam)) == len(counts) - 2


@pytest.mark.parametrize(
    ("extra", "reading", "words"),
    [
        ({"data_dark": np.ones(3)}, {}, "expected .16, 16.; --corrections ignore"),
        ({"monitor": np.ones(5)}, {}, "for each of 72 frames; --corrections ignore"),
        ({"data_dark": np.full((N, N), 1e4)}, {}, "brighter than the frames; .* already"),
        ({"monitor": np.geomspace(1, 9, 72)}, {}, "does not follow .*already"),
        ({"monitor": np.zeros(72)}, {}, "must be > 0"),
        ({"monitor": np.ones(72)}, {"values": "amplitude"}, "correct intensities, and amplitudes"),
    ],
)
def test_a_correction_that_cannot_be_meant_is_refused(read, extra, reading, words):
    with pytest.raises(InputError, match=words):
        read(**extra, reading=ScanConventions(**reading))


@pytest.mark.parametrize(
    "names", [("real", "imag"), ("r", "i"), ("Re", "Im"), ("real", "imaginary")]
)
def test_a_pair_of_fields_is_a_complex_number(read, scan, names):
    probe = scan.probe_MHW[0]
    pair = np.zeros(probe.shape, [(name, "f4") for name in names])
    pair[names[0]], pair[names[1]] = probe.real, probe.imag
    np.testing.assert_allclose(read(probe=pair).probe_MHW[0], probe)


def test_what_nothing_reads_is_listed(read):
    assert "gain_map" in note(read(gain_map=np.ones((N, N))), "not used: ")


def test_a_probe_is_moved_to_the_centre_or_said_to_be_real(read, scan):
    probe = scan.probe_MHW[0]
    for axes, where in (((0, 1), "in the corners"), ((0,), "at two opposite sides")):
        found = read(probe=np.fft.ifftshift(probe, axes))
        assert np.allclose(found.probe_MHW[0], probe) and note(found, where)
    assert note(read(probe=np.abs(probe).astype(complex)), "the probe is real")
    pair = np.stack([probe.real, probe.imag])
    for parts in (pair, np.moveaxis(pair, 0, -1), np.stack([pair] * 3), np.stack([pair] * 3, 1)):
        with pytest.raises(InputError, match="real and imaginary part.*store it complex"):
            read(probe=parts)


@pytest.mark.parametrize("shape", ["ring", "off centre"])
def test_a_probe_that_is_wide_or_off_the_centre_is_left(read, shape):
    y, x = np.mgrid[:N, :N] - N // 2
    r = np.abs(np.hypot(y, x) - 0.42 * N) if shape == "ring" else np.hypot(y - 5, x - 5)
    probe = np.exp(-((2 * r / 3) ** 2) + 0.3j * x)
    assert np.allclose(read(probe=probe).probe_MHW[0], probe)


@pytest.mark.parametrize(
    ("factor", "words"),
    [(1e-3, "hardly moves.*median step"), (0.04, "hardly moves"), (100.0, "nothing in common")],
)
def test_steps_that_cannot_be_are_refused(read, scan, factor, words):
    with pytest.raises(InputError, match=f"{words}|near-field geometry"):
        read(positions=scan.positions_n2 * factor)


def test_fine_steps_of_a_scan_that_moves_are_read(read, scan):
    """Lines of a fly scan: a tenth of a pixel along the line, far between the lines."""
    lines = np.stack(np.divmod(np.arange(len(scan)), 24), axis=-1) * [6.0, 0.2]
    assert note(read(positions=lines), "median step 0.2 px")


def test_the_unit_that_fits_the_geometry_is_named(tmp_path, scan):
    write_scan_cxi(tmp_path / "a.cxi", scan)
    with h5py.File(tmp_path / "a.cxi", "a") as file:
        del file["entry_1/ptycho_torch"], file["entry_1/image_2"]
        places = file["entry_1/sample_1/geometry_1/translation"]
        del places.attrs["units"]
        places[:] = places[:] * 1e9
    with pytest.raises(InputError, match="nothing in common.* its geometry fits --units nm"):
        read_scan(tmp_path / "a.cxi", ScanConventions(units="pixels"))
    found = read_scan(tmp_path / "a.cxi", ScanConventions(units="nm"))
    np.testing.assert_allclose(np.ptp(found.positions_n2, 0), np.ptp(scan.positions_n2, 0), 1e-6)


@pytest.mark.parametrize("stack", ["first", "last"])
def test_a_cube_is_told_by_its_light(tmp_path, scan, counts, stack):
    axis = {"first": 0, "last": -1}[stack]
    cube, (rows, columns) = counts[:N], scan.positions_n2[:N].T
    arrays = {"xcoords": columns + N // 2, "ycoords": rows + N // 2}
    np.savez(tmp_path / "cube.npz", diff3d=np.moveaxis(cube, 0, axis), **arrays)
    np.testing.assert_allclose(read_scan(tmp_path / "cube.npz").amplitude_nHW, cube**0.5, 1e-6)
    flat = np.random.default_rng(0).poisson(5, (N, N, N))
    np.savez(tmp_path / "flat.npz", diff3d=flat, **arrays)
    with pytest.raises(InputError, match="give --stack first or --stack last"):
        read_scan(tmp_path / "flat.npz")
    found = read_scan(tmp_path / "flat.npz", ScanConventions(stack=stack))
    np.testing.assert_allclose(found.amplitude_nHW, np.moveaxis(flat, axis, 0) ** 0.5, 1e-6)
