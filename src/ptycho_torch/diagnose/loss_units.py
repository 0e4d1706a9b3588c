"""Do the losses in force have the units that they claim? Checks worked out by hand, and the data's.

Predicted amplitude 2, observed 3: the Poisson loss must see rate 4 and observation 9, the MAE must
be 1, and a scale reaches a loss as (B, 1, 1, 1), so that it cannot broadcast over another axis.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ptycho_torch.data.batch import LOSSES, SplitScales, groups_of_split
from ptycho_torch.data.dataset_file import read_split
from ptycho_torch.physics.forward import intensities
from ptycho_torch.physics.likelihoods import mae_loss, poisson_loss, scale_B111

Check = dict[str, Any]


def check_losses() -> list[Check]:
    """Return the checks of the loss functions in force: `check`, `expected`, `found`, `passed`."""
    predicted, observed = torch.full((2, 1, 1, 1), 2.0), torch.full((2, 1, 1, 1), 3.0)
    one, two = scale_B111(1.0, observed), torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)
    scales = SplitScales(intensity_scale=1.0, mean_amplitude=1.0, mean_counts=1.0)
    by_hand = 4 - 9 * math.log(4) + math.lgamma(10)  # 4 - 9 ln 4 + ln 9!
    with torch.enable_grad():
        matching = observed.clone().requires_grad_()
        (slope,) = torch.autograd.grad(poisson_loss(matching, observed, one, one), matching)
    steepest = slope.abs().max()
    stream = torch.Generator().manual_seed(0)
    patches = torch.randn(1, 1, 8, 8, dtype=torch.complex64, generator=stream)
    probe = torch.randn(2, 8, 8, dtype=torch.complex64, generator=stream)
    power = (patches[:, :, None] * probe).abs().square().sum()
    poisson = poisson_loss(predicted, observed, one, one)
    trained = {name: scales.loss(name, predicted, observed) for name in LOSSES}
    try:
        mae_loss(predicted, observed, torch.ones(2))
        outcome = "no error"
    except ValueError:
        outcome = "an error"
    return [
        _near("MAE of predicted 2, observed 3", 1.0, mae_loss(predicted, observed, one)),
        _near("Poisson loss of predicted 2, observed 3: rate 4, observation 9", by_hand, poisson),
        _near("the same MAE as training takes it", 1.0, trained["mae"]),
        _near("the same Poisson loss as training takes it", by_hand, trained["poisson"]),
        _near("Poisson loss is least where predicted = observed (gradient)", 0.0, steepest),
        _near(
            "a scale of (B, 1, 1, 1) acts on its own group: MAE with scales 1 and 2", 0.75,
            mae_loss(predicted, observed, two),
        ),
        _check(
            "a scale of another shape is refused", "an error", outcome, outcome == "an error"
        ),
        _near(
            "forward model: intensities of a frame sum to its exit wave's (Parseval)", float(power),
            intensities(patches, probe).sum(),
        ),
    ]  # fmt: skip


def check_dataset(
    path: str | Path, *, patch_px: int, photons: float | None, tolerance: float
) -> list[Check]:
    """Return the checks of a training split: photons by Parseval, and amplitudes as such.

    photons: mean photons of a pattern that were requested; None: not known, not checked; tolerance:
    relative difference that is allowed beside five standard deviations of photon noise. Raises as
    `read_split`.
    """
    split = read_split(path, patch_px=patch_px, photons=photons or 1e9)
    squares = np.square(split.diffraction_nCHW, dtype=np.float64)
    power = squares.sum(axis=(-2, -1))
    checks = []
    if photons is not None:
        name = "mean photons of a pattern, sum of (s A)^2"
        allowed = tolerance + 5 / math.sqrt(photons * power.size)
        seen = float(power.mean() * split.intensity_scale**2)
        checks.append(_compared(name, photons, seen, allowed))
    if (illuminated := split.arrays.get("Y_I")) is not None:
        name = "power of the patterns over that of the illuminated object (Parseval)"
        truth = float(np.square(illuminated, dtype=np.float64).sum())
        # Photon noise and a rounded scale differ by less.
        checks.append(_compared(name, 1.0, float(power.sum()) / truth, 0.2))
    name = "mean count of a pixel as the Poisson loss has it"
    counts = float(squares.mean()) * split.intensity_scale**2
    scales = groups_of_split(split).scales(split.intensity_scale)
    return [*checks, _compared(name, counts, scales.mean_counts, 1e-3)]


def _near(check: str, expected: float, value: Tensor) -> Check:
    near = math.isclose(float(value), expected, rel_tol=1e-4, abs_tol=1e-4)
    return _check(check, f"{expected:.6g}", f"{float(value):.6g}", near)


def _compared(check: str, expected: float, value: float, allowed: float) -> Check:
    limit = f"{expected:.6g} within {100 * allowed:.2g} %"
    return _check(check, limit, f"{value:.6g}", abs(value / expected - 1) <= allowed)


def _check(check: str, expected: str, found: str, passed: bool) -> Check:
    return {"check": check, "expected": expected, "found": found, "passed": passed}
