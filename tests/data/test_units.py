"""The units of a scan, and its frames as batches: masks, photons, probes; statistics of patches by
hand, and the scales in force."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from ptycho_torch.data.batch import groups_of_scan
from ptycho_torch.data.patch_statistics import patch_statistics, write_patch_statistics
from ptycho_torch.data.scan import Scan
from ptycho_torch.data.units import (
    ScaleLost,
    Scales,
    check_scale_reached,
    measured_units,
    probe_of,
    unit_of,
)
from ptycho_torch.physics.forward import intensities
from ptycho_torch.runtime.errors import InputError

N = 16


def beam(scale=1.0):
    axis = np.arange(N) - (N - 1) / 2
    return (scale * np.exp(-(axis[:, None] ** 2 + axis**2) / 18))[None].astype(np.complex64)


def scan_of(amplitude, *, scale=1.0, good=None, probe=None, frames=3):
    stack = np.broadcast_to(amplitude, (frames, N, N)).astype(np.float32)
    positions = np.arange(2.0 * frames).reshape(frames, 2)
    return Scan(
        source="x", amplitude_nHW=stack, positions_n2=positions, intensity_scale=scale,
        good_1HW=good, probe_MHW=beam(7.0) if probe is None else probe,
    )  # fmt: skip


def counts(photons):
    """Root photons of an empty object under the beam, `photons` in all."""
    pattern = intensities(torch.ones(1, 1, N, N, dtype=torch.complex64), torch.from_numpy(beam()))
    return np.sqrt(pattern[0, 0].numpy() * photons / pattern.sum().item())


@pytest.mark.parametrize(("photons", "stored"), [(1e3, 1.0), (1e7, 0.01)])
def test_an_empty_object_is_one_in_the_units_of_its_scan(photons, stored):
    """Whatever factor the file keeps, patches of 1 under the normalised probe explain its frames."""
    scan = scan_of(counts(photons) * stored, scale=1 / stored)
    probe = probe_of(scan)
    units = measured_units(scan, probe, photons=5.0)
    frames = groups_of_scan(scan, np.arange(3)[:, None], units.unit).amplitude_BCHW
    ones = torch.ones(3, 1, N, N, dtype=torch.complex64)
    predicted = intensities(ones, torch.from_numpy(probe)).sqrt()
    torch.testing.assert_close(frames, predicted, rtol=1e-4, atol=1e-5)
    assert units.source == "measured"
    assert (units.intensity_scale**2 * frames[0].square().sum()).item() == pytest.approx(photons)
    assert unit_of(scan, units.intensity_scale) == pytest.approx(units.unit)


@pytest.mark.parametrize("photons", [1e4, 1e9])
def test_a_file_that_does_not_say_its_photons_has_those_given(photons):
    """In the units of training: (s A)^2 sum to them in the mean, whatever factor the file keeps."""
    scan = scan_of(3 * counts(1e5), scale=None)
    units = measured_units(scan, probe_of(scan), photons)
    assert units.source == "given"
    seen = (scan.amplitude_nHW / units.unit * units.intensity_scale) ** 2
    assert seen.sum(axis=(1, 2)).mean() == pytest.approx(photons, rel=1e-5)
    with pytest.raises(InputError, match="x: does not say its photons"):
        unit_of(scan, 3.0)


def test_masked_pixels_are_zero_and_count_for_nothing_in_their_frames():
    good = np.ones((1, N, N), bool)
    good[0, 3, 5] = False
    clean, dirty = counts(1e5), counts(1e5)
    dirty[3, 5] = np.nan
    clean[3, 5] = 0
    scans = [scan_of(clean), scan_of(dirty, good=good)]
    units = [measured_units(s, probe_of(s), 1.0).unit for s in scans]
    assert units[0] == units[1]
    seen = groups_of_scan(scans[1], np.arange(3)[:, None], 1.0)
    assert (seen.amplitude_BCHW[:, 0, 3, 5] == 0).all()
    assert seen.take(slice(0, 2)).good_BCHW.shape == (1, 1, N, N)
    each = np.concatenate([good | True, good | True, good])
    of_each = groups_of_scan(scan_of(clean, good=each), np.array([[2], [0]]), 1.0)
    masks = of_each.take(torch.tensor([0, 1])).good_BCHW
    assert masks.shape == (2, 1, N, N) and not masks[0, 0, 3, 5] and masks[1].all()
    scales = seen.scales(1.0)
    assert scales.mean_amplitude == pytest.approx(clean.sum() / (N * N - 1), rel=1e-5)
    assert scales.mean_counts == pytest.approx((clean**2).sum() / (N * N - 1), rel=1e-5)


def test_a_scan_without_a_usable_probe_is_refused():
    off = np.zeros((1, N, N), np.complex64)
    off[0, 0, 0] = 1
    with pytest.raises(InputError, match="its probe is dark within a quarter"):
        probe_of(scan_of(counts(9.0), probe=off))
    with pytest.raises(InputError, match="x: has no probe"):
        probe_of(replace(scan_of(counts(9.0)), probe_MHW=None))


def test_statistics_worked_out_by_hand():
    """1, 3, 3i, i: moduli 1, 3, 3, 1; mean 1 + i; mean square 5; about the mean 5 - 2."""
    found = patch_statistics(np.array([[[1, 3], [3j, 1j]]]))
    plain = {name: float(value[0]) for name, value in found["amplitude"].items()}
    assert plain == pytest.approx({"mean": 2, "std": 1, "min": 1, "max": 3, "var_zero_mean": 1})
    wave = {name: float(value[0]) for name, value in found["complex"].items()}
    assert wave == pytest.approx({"var_zero_mean": 3})
    # About the mean of all patches, the variance of two constant ones would be 1.
    found = patch_statistics(np.stack([np.full((4, 4), 1.0), np.full((4, 4), 3.0)]))
    assert found["amplitude"]["var_zero_mean"].tolist() == [0, 0]


def test_the_file_has_evenly_chosen_patches_and_the_scales(tmp_path):
    """And null for what is not finite."""
    patches = np.arange(5.0)[:, None, None] + np.array([[0, 1], [0, 1]])
    patches[2, 0, 0] = np.nan
    scales = Scales(input_scale=0.5, intensity_scale=30.0, intensity_scale_source="learned")
    write_patch_statistics(tmp_path, patches, scales, limit=3)
    found = json.loads((tmp_path / "patch_stats.json").read_text())
    assert (found["patches"], found["chosen"]) == (5, [0, 2, 4])
    assert found["amplitude"]["mean"] == [0.5, None, 4.5]
    assert found["scales"] == {**scales.model_dump(), "norm_Y_I": None}
    assert (tmp_path / "patches.png").stat().st_size > 1000


def test_a_lost_scale_is_told_and_a_kept_one_is_not():
    raw = np.random.default_rng(1).random((4, 8, 8))
    check_scale_reached("s", 2.5, raw, (raw / 2.5).astype(np.float32))
    check_scale_reached("s", 2.5, raw * 0, raw * 0)
    for lost in (raw, raw / 2.6, raw * 0):
        with pytest.raises(ScaleLost, match=r"s of 2\.5 was requested, .* lost on its way"):
            check_scale_reached("s", 2.5, raw, lost)
