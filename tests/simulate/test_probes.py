"""Probes: shape, centre, symmetry, normalisation, and files."""

import numpy as np
import pytest

from ptycho_torch.config.dataset import DiskProbe, FileProbe, TriangleProbe
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.simulate.dataset import make_probe, normalisation, radius_px, triangle_mask

PROBES = [
    TriangleProbe(shape="triangle"),
    DiskProbe(shape="disk"),
    DiskProbe(shape="disk", edge_phase_rad=0.9),
]


@pytest.mark.parametrize("settings", PROBES)
@pytest.mark.parametrize("side", [32, 33, 64])
def test_every_probe_is_normalised_alike(settings, side):
    assert normalisation(make_probe(settings, side)) == pytest.approx(1)


def test_triangle_is_equilateral_with_a_corner_up_and_its_centroid_in_the_centre():
    mask = triangle_mask(256, 0.325 * 256)
    rows, columns = np.nonzero(mask)
    assert rows.mean() == pytest.approx(127.5, abs=0.5)
    assert columns.mean() == pytest.approx(127.5, abs=0.1)
    assert mask.sum() == pytest.approx(3 * np.sqrt(3) / 4 * (0.325 * 256) ** 2, rel=0.01)
    widths = mask.sum(axis=1)[rows.min() : rows.max() + 1]
    assert widths[0] < 4 and (np.diff(widths) >= 0).all()


def test_only_the_triangle_breaks_the_symmetry_that_allows_a_twin():
    triangle, disk, _ = (np.abs(make_probe(p, 64)) for p in PROBES)
    np.testing.assert_allclose(disk[::-1, ::-1], disk, atol=1e-12)
    assert (triangle[::-1, ::-1] * triangle).sum() / (triangle**2).sum() < 0.8


def test_edge_phase_is_reached_at_the_circumradius():
    flat, curved = (
        make_probe(TriangleProbe(shape="triangle", edge_phase_rad=e), 64) for e in (0.0, 3.2)
    )
    expected = 3.2 * (radius_px(64) / (0.325 * 64)) ** 2
    lit = np.abs(flat) > 1e-3 * np.abs(flat).max()
    difference = np.angle(curved * np.conj(flat) * np.exp(-1j * expected))
    np.testing.assert_allclose(difference[lit], 0, atol=1e-9)


@pytest.fixture
def probe_of_file(tmp_path):
    def make(array, side, resize="refuse"):
        np.savez(tmp_path / "probe.npz", probeGuess=array)
        path = str(tmp_path / "probe.npz")
        return make_probe(
            FileProbe(shape="file", path=path, resize=resize, smoothing_sigma_px=0), side
        )

    return make


def smooth_probe(side, curvature=0.02):
    squared = radius_px(side) ** 2
    return np.exp(-squared / (side / 4) ** 2 + 1j * curvature * squared)


def test_a_file_probe_of_several_modes_keeps_their_ratio(probe_of_file):
    modes = np.stack([smooth_probe(32), 0.5 * smooth_probe(32, 0.1)])
    made = probe_of_file(modes, 32)
    assert made.shape == (2, 32, 32)
    np.testing.assert_allclose(made[1] / made[0], modes[1] / modes[0], rtol=1e-9)
    assert normalisation(made) == pytest.approx(1)


def test_interpolation_keeps_the_shape_and_padding_the_centre(probe_of_file):
    made = np.abs(probe_of_file(smooth_probe(32, 0.0), 64, "interpolate"))
    assert np.corrcoef(made.ravel(), np.abs(smooth_probe(64, 0.0)).ravel())[0, 1] > 0.999
    given = smooth_probe(32)
    padded = probe_of_file(given, 64, "pad")
    ratio = padded[16:48, 16:48] / given
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-9)
    assert padded[0, 0] == 0


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((4, 5)), "expected complex .H, H. or .M, H, H."),
        (np.full((32, 32), np.nan), "finite"),
        (np.eye(32)[:, ::-1] * (radius_px(32) > 12), "is dark within a quarter"),
        (np.ones((16, 16)), "is 16 px, the patches are 32 px; set probe.resize"),
    ],
)
def test_unusable_probe_files_are_refused(probe_of_file, array, message):
    with pytest.raises(InputError, match=message):
        probe_of_file(array, 32)
