"""A cut detector is predicted by the cut scan: pixel size, positions, probe and object agree."""

import dataclasses

import numpy as np
import pytest

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.resize import resized
from ptycho_torch.data.scan import Scan
from ptycho_torch.runtime.errors import InputError


def error(made, scan):
    """Relative error of the amplitudes that the scan's own probe and object predict."""
    found = np.sqrt(made.patterns(scan.probe_MHW, scan.object_YX, scan.positions_n2))
    return np.linalg.norm(found - scan.amplitude_nHW) / np.linalg.norm(scan.amplitude_nHW)


def wide_scan(made, *, side, spot, blur):
    """A scan with the probe in the middle `spot` pixels of its window."""
    stream = np.random.default_rng(3)
    probe = np.zeros((1, side, side), complex)
    first = (side - spot) // 2
    probe[:, first : first + spot, first : first + spot] = made.a_probe(spot)
    thing = 1 + 0.8 * made.smooth((72, 76), blur, 4)
    positions = stream.uniform(0, 38, (12, 2))
    return Scan(
        source="made",
        amplitude_nHW=np.sqrt(made.patterns(probe, thing, positions)).astype(np.float32),
        positions_n2=positions,
        probe_MHW=probe.astype(np.complex64),
        object_YX=thing.astype(np.complex64),
        good_1HW=np.ones((1, side, side), bool),
    )


def test_a_cropped_detector_sees_larger_pixels(made):
    scan = wide_scan(made, side=32, spot=32, blur=3)
    assert error(made, scan) < 1e-6
    cut = resized(scan, ScanConventions(patch_px=16))
    np.testing.assert_array_equal(cut.amplitude_nHW, scan.amplitude_nHW[:, 8:24, 8:24])
    np.testing.assert_allclose(cut.positions_n2, scan.positions_n2 / 2)
    assert cut.object_YX.shape == (36, 38)
    assert error(made, cut) < 0.015
    unscaled = dataclasses.replace(cut, positions_n2=np.round(cut.positions_n2))
    assert error(made, unscaled) > 0.03


def test_an_empty_frame_keeps_its_far_field_pixel_by_pixel(made):
    scan = wide_scan(made, side=32, spot=32, blur=3)
    empty = dataclasses.replace(scan, object_YX=np.ones_like(scan.object_YX))
    full = np.sqrt(made.patterns(empty.probe_MHW, empty.object_YX, np.zeros((1, 2))))
    cut = resized(empty, ScanConventions(patch_px=12))
    np.testing.assert_allclose(cut.object_YX, 1, atol=1e-6)
    seen = np.sqrt(made.patterns(cut.probe_MHW, cut.object_YX, np.zeros((1, 2))))
    np.testing.assert_allclose(seen, full[:, 10:22, 10:22], atol=1e-5)


def test_a_binned_detector_sees_a_smaller_window(made):
    scan = wide_scan(made, side=32, spot=14, blur=1.2)
    cut = resized(scan, ScanConventions(patch_px=16, fit="bin"))
    counts = np.square(scan.amplitude_nHW, dtype=float)
    np.testing.assert_allclose(
        np.square(cut.amplitude_nHW[2, 3, 5], dtype=float), counts[2, 6:8, 10:12].sum(), rtol=1e-5
    )
    np.testing.assert_allclose(cut.positions_n2, scan.positions_n2 + 8)
    np.testing.assert_array_equal(cut.object_YX, scan.object_YX)
    blurred = error(made, cut)
    assert blurred < 0.04
    untilted = dataclasses.replace(cut, probe_MHW=scan.probe_MHW[:, 8:24, 8:24])
    assert error(made, untilted) > 3 * blurred


def test_a_bin_with_a_bad_pixel_is_bad(made):
    scan = wide_scan(made, side=32, spot=14, blur=1.2)
    scan.good_1HW[0, 7, 11] = False
    good = resized(scan, ScanConventions(patch_px=16, fit="bin")).good_1HW
    assert np.argwhere(~good).tolist() == [[0, 3, 5]]


@pytest.mark.parametrize(
    ("reading", "reason"),
    [
        (ScanConventions(patch_px=64), "frames are 32 px, patch_px 64 asks for more"),
        (
            ScanConventions(patch_px=12, fit="bin"),
            "do not bin to 12 px; expected an even divisor of 32",
        ),
    ],
)
def test_what_cannot_be_cut_is_refused(made, reading, reason):
    with pytest.raises(InputError, match=reason):
        resized(wide_scan(made, side=32, spot=32, blur=3), reading)
