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


MISTAKES = [
    # On intensities, on amplitudes, no unitary far field, and a scale that broadcasts.
    ("mae_loss", lambda p, o, s: ((p**2 - o**2).abs() / s).mean(), "MAE of predicted 2"),
    ("poisson_loss", lambda p, o, s, n: (p - o * p.log()).mean(), "Poisson loss of predicted 2"),
    ("intensities", lambda patches, probe: 2 * patches.abs().square(), "forward model"),
    ("mae_loss", lambda p, o, s: ((p - o).abs() / s.mean()).mean(), "a scale of (B, 1, 1, 1)"),
    ("mae_loss", lambda p, o, s: ((p - o).abs() / s.mean()).mean(), "a scale of another shape"),
]


@pytest.mark.parametrize(("name", "mistake", "check"), MISTAKES)
def test_a_loss_of_wrong_units_fails_by_name(monkeypatch, name, mistake, check):
    monkeypatch.setattr(loss_units, name, mistake)
    assert any(said.startswith(check) for said in failed(check_losses()))


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
