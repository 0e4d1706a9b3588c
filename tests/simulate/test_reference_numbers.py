"""Every reference number of docs/reference/physics.md, at full size."""

import numpy as np
import pytest
from numpy.random import RandomState
from scipy.ndimage import gaussian_filter

from ptycho_torch.config.dataset import DiskProbe, ObjectSettings, ScanSettings, SimulatedDataset
from ptycho_torch.data.units import normalisation, radius_px
from ptycho_torch.simulate.dataset import disk_mask, make_probe, simulate_split
from ptycho_torch.simulate.frames import cut_patches, line_images, raster


def reference(smoothing_sigma_px=0.5):
    return SimulatedDataset(
        source="simulated",
        patch_px=64,
        images_per_split=1,
        object=ObjectSettings(size_px=392, set_phi=True),
        probe=DiskProbe(shape="disk", smoothing_sigma_px=smoothing_sigma_px),
        scan=ScanSettings(train_step_px=4, test_step_px=10),
    )


def split_of(name, **more):
    settings = reference()
    return simulate_split(settings, name, make_probe(settings.probe, 64), **more)


@pytest.fixture(scope="module")
def train_split():
    return split_of("train")


def test_number_of_patches_and_norm_of_each_split(train_split):
    test = split_of("test", intensity_scale=933.7095)
    for split, patches, norm in ((train_split, 6889, 4.1631), (test, 1089, 4.2296)):
        assert split.arrays["diffraction"].shape == (patches, 64, 64, 1)
        assert float(split.arrays["norm_Y_I"]) == pytest.approx(norm, abs=1e-4)


@pytest.mark.parametrize(("sigma", "expected"), [(0.0, 928.2137), (0.5, 933.7095)])
def test_intensity_scale_from_photons(sigma, expected):
    """sqrt(1e9 / mean over patches of sum |psi|^2), by the exit waves themselves."""
    probe = make_probe(reference(sigma).probe, 64)
    images = line_images(RandomState(1), images=1, size_px=392, num_lines=400)
    scan = raster(reference().scan, size_px=392, patch_px=64, step_px=4)
    patches = cut_patches(images, scan, 64) / 4.163083740737055
    power = np.mean([(np.abs(probe * patch) ** 2).sum() for patch in patches[:, 0]])
    assert np.sqrt(1e9 / power) == pytest.approx(expected, abs=1e-3)


def test_stored_amplitude_and_its_noise(train_split):
    stored = train_split.arrays["diffraction"].astype(np.float64)
    assert train_split.intensity_scale == pytest.approx(933.7095, abs=1e-3)
    photons = np.square(stored * train_split.intensity_scale).sum(axis=(1, 2)).mean()
    assert photons == pytest.approx(1e9, rel=1e-4)
    assert stored.mean() == pytest.approx(0.0904, abs=1e-4)
    assert stored.std() == pytest.approx(0.5214, abs=2e-4)
    assert 14 < stored.max() < 18
    assert train_split.noise_floor == pytest.approx(0.00483, abs=3e-5)


def test_disk_its_divisor_and_peak():
    assert disk_mask(64).sum() == 376
    assert (radius_px(64) <= 16).sum() == 812
    raw = gaussian_filter(disk_mask(64), 1.0) + 1e-9
    assert normalisation(raw.astype(complex)) == pytest.approx(0.36719, abs=1e-5)
    assert np.abs(make_probe(reference(0.0).probe, 64)).max() == pytest.approx(2.7234, abs=1e-4)
