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


PHOTONS, POWER = "mean photons of a pattern, sum of (s A)^2", "power of the patterns over that"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"intensity_scale": lambda a: a / 2}, [PHOTONS]),
        ({"diffraction": np.square}, [PHOTONS, POWER]),
        ({"diffraction": lambda a: 1.03 * a}, [PHOTONS]),
    ],
)
def test_a_wrong_scale_and_intensities_are_found(tiny_dataset, tmp_path, changes, expected):
    arrays = dict(np.load(tiny_dataset.splits["train"]))
    np.savez(tmp_path / "train.npz", **arrays | {k: how(arrays[k]) for k, how in changes.items()})
    names = failed(check_dataset(tmp_path / "train.npz", patch_px=16, photons=1e9, tolerance=0.01))
    assert [name[: len(start)] for name, start in zip(names, expected, strict=True)] == expected
