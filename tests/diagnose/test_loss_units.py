"""The checks of the loss's units pass on the code in force, and fail on planted mistakes."""

import numpy as np
import pytest

from ptycho_torch.diagnose import loss_units
from ptycho_torch.diagnose.loss_units import check_dataset, check_losses


def failed(checks):
    return [check["check"] for check in checks if not check["passed"]]


def test_the_losses_in_force_pass():
    checks = check_losses()
    assert len(checks) == 8 and failed(checks) == []
    assert checks[1]["expected"] == "4.32518"  # 4 - 9 ln 4 + ln 9!


MISTAKES = {
    "mae_loss": lambda p, o, s: ((p**2 - o**2).abs() / s).mean(),  # on intensities
    "poisson_loss": lambda p, o, s, n: (p - o * p.log()).mean(),  # on amplitudes
    "intensities": lambda patches, probe: 2 * patches.abs().square(),  # no unitary far field
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_loss_of_wrong_units_fails_by_name(monkeypatch, name):
    monkeypatch.setattr(loss_units, name, MISTAKES[name])
    assert failed(check_losses())


def test_a_scale_that_broadcasts_is_found(monkeypatch):
    def careless(predicted, observed, scale):
        return ((predicted - observed).abs() / scale.mean()).mean()

    monkeypatch.setattr(loss_units, "mae_loss", careless)
    assert set(failed(check_losses())) >= {
        "a scale of (B, 1, 1, 1) acts on its own group: MAE with scales 1 and 2",
        "a scale of another shape is refused",
    }


def check(path, photons=1e9):
    return check_dataset(path, patch_px=16, photons=photons, tolerance=0.01)


def test_the_simulated_split_has_its_photons(tiny_dataset):
    checks = check(tiny_dataset.splits["train"])
    assert len(checks) == 3 and failed(checks) == []
    assert len(check(tiny_dataset.splits["train"], photons=None)) == 2


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"intensity_scale": lambda a: a / 2}, ["mean photons"]),
        ({"diffraction": np.square}, ["mean photons", "power of the patterns"]),
        ({"diffraction": lambda a: 1.03 * a}, ["mean photons"]),
    ],
)
def test_a_wrong_scale_and_intensities_are_found(tiny_dataset, tmp_path, change, expected):
    arrays = dict(np.load(tiny_dataset.splits["train"]))
    for key, how in change.items():
        arrays[key] = how(arrays[key])
    path = tmp_path / "train.npz"
    np.savez(path, **arrays)
    found = failed(check(path))
    assert [
        name for name, start in zip(found, expected, strict=True) if name.startswith(start)
    ] == found
