"""The checks of the loss's units pass on the code in force, and fail on planted mistakes."""

import numpy as np
import pytest

from ptycho_torch.diagnose.networks import check_dataset, check_losses


def failed(checks):
    return [check["check"] for check in checks if not check["passed"]]


def test_the_losses_in_force_pass():
    checks = check_losses()
    assert len(checks) == 3 and failed(checks) == []
    assert checks[1]["found"] == "4.32518"  # 4 - 9 ln 4 + ln 9!


@pytest.mark.parametrize(
    ("name", "mistake", "check"),
    [
        # On intensities, on amplitudes, and no unitary far field.
        ("data.batch.mae_loss", lambda p, o, *_: (p**2 - o**2).abs().mean(), "MAE"),
        ("data.batch.poisson_loss", lambda p, o, *_: (p - o * p.log()).mean(), "Poisson"),
        ("diagnose.networks.intensities", lambda p, _: 2 * p.abs().square(), "forward model"),
    ],
)
def test_a_loss_of_wrong_units_fails_by_name(monkeypatch, name, mistake, check):
    monkeypatch.setattr(f"ptycho_torch.{name}", mistake)
    (said,) = failed(check_losses())
    assert said.startswith(check)


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
