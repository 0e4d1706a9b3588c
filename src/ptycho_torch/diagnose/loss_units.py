"""Do the losses in force have the units that they claim? Checks worked out by hand, and the data's.

Predicted amplitude 2, observed 3: the Poisson loss must see rate 4 and observation 9, the MAE must
be 1, and a scale reaches a loss as (B, 1, 1, 1), so that it cannot broadcast over another axis.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ptycho_torch.data.dataset_file import Split, read_split
from ptycho_torch.data.split_scales import SplitScales
from ptycho_torch.physics.forward import intensities
from ptycho_torch.physics.likelihoods import mae_loss, poisson_loss, scale_B111

Check = dict[str, Any]
_RELATIVE = 1e-4
# As far as read_split warns: beyond it amplitudes are no amplitudes.
_POWER_TOLERANCE = 0.2


def check_losses() -> list[Check]:
    """Return the checks of the loss functions in force: `check`, `expected`, `found`, `passed`."""
    predicted, observed = torch.full((2, 1, 1, 1), 2.0), torch.full((2, 1, 1, 1), 3.0)
    one = scale_B111(1.0, observed)
    scales = SplitScales(intensity_scale=1.0, mean_amplitude=1.0, mean_counts=1.0)
    # 4 - 9 ln 4 + ln 9!
    by_hand = 4 - 9 * math.log(4) + math.lgamma(10)
    return [
        _equal("MAE of predicted 2, observed 3", 1.0, lambda: mae_loss(predicted, observed, one)),
        _equal(
            "Poisson loss of predicted 2, observed 3: rate 4, observation 9",
            by_hand,
            lambda: poisson_loss(predicted, observed, one, one),
        ),
        _equal(
            "the same MAE as training takes it",
            1.0,
            lambda: scales.loss("mae", predicted, observed),
        ),
        _equal(
            "the same Poisson loss as training takes it",
            by_hand,
            lambda: scales.loss("poisson", predicted, observed),
        ),
        _equal(
            "Poisson loss is least where predicted = observed (gradient)",
            0.0,
            lambda: _poisson_slope(observed),
        ),
        _equal(
            "a scale of (B, 1, 1, 1) acts on its own group: MAE with scales 1 and 2",
            0.75,
            lambda: mae_loss(predicted, observed, torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)),
        ),
        _refused("a scale of another shape is refused", predicted, observed),
        _equal(
            "forward model: intensities of a frame sum to its exit wave's (Parseval)",
            _exit_power(),
            lambda: intensities(*_exit_parts()).sum(),
        ),
    ]


def check_dataset(path: str | Path, *, patch_px: int, photons: float | None, tolerance: float) -> (
    list[Check]
):  # fmt: skip
    """Return the checks of a training split: photons by Parseval, and amplitudes as such.

    Parameters
    ----------
    path
        The split.
    patch_px
        Side of its patches, pixels.
    photons
        Mean photons of a pattern that were asked for; None: not known, not checked.
    tolerance
        Relative difference that is allowed beside five standard deviations of photon noise.

    Raises
    ------
    InputError
        As `read_split`.
    """
    split = read_split(path, patch_px=patch_px)
    amplitude = split.diffraction_nCHW.astype(np.float64)
    power = np.square(amplitude).sum(axis=(-2, -1))
    checks = []
    if photons is not None:
        found = float(power.mean() * split.intensity_scale**2)
        allowed = tolerance + 5 / math.sqrt(photons * power.size)
        checks.append(
            _compared("mean photons of a pattern, sum of (s A)^2", photons, found, allowed)
        )
    if (illuminated := split.arrays.get("Y_I")) is not None:
        truth = float(np.square(illuminated, dtype=np.float64).sum())
        checks.append(
            _compared(
                "power of the patterns over that of the illuminated object (Parseval)",
                1.0,
                float(power.sum()) / truth,
                _POWER_TOLERANCE,
            )
        )
    return [*checks, _scales_of(split, amplitude)]


def _scales_of(split: Split, amplitude: np.ndarray) -> Check:
    counts = float(np.square(amplitude).mean()) * split.intensity_scale**2
    found = SplitScales.of(split).mean_counts
    return _compared("mean count of a pixel as the Poisson loss has it", counts, found, 1e-3)


def _equal(check: str, expected: float, compute: Callable[[], Tensor]) -> Check:
    try:
        found = float(compute())
    except (ValueError, RuntimeError) as error:
        return _check(check, f"{expected:.6g}", f"an error: {error}", passed=False)
    near = math.isclose(found, expected, rel_tol=_RELATIVE, abs_tol=_RELATIVE)
    return _check(check, f"{expected:.6g}", f"{found:.6g}", passed=near)


def _compared(check: str, expected: float, found: float, allowed: float) -> Check:
    near = abs(found / expected - 1) <= allowed
    wanted = f"{expected:.6g} within {100 * allowed:.2g} %"
    return _check(check, wanted, f"{found:.6g}", passed=near)


def _refused(check: str, predicted: Tensor, observed: Tensor) -> Check:
    try:
        mae_loss(predicted, observed, torch.ones(2))
    except ValueError:
        return _check(check, "an error", "an error", passed=True)
    return _check(check, "an error", "no error", passed=False)


def _check(check: str, expected: str, found: str, *, passed: bool) -> Check:
    return {"check": check, "expected": expected, "found": found, "passed": passed}


def _poisson_slope(observed: Tensor) -> Tensor:
    predicted = observed.clone().requires_grad_()
    one = scale_B111(1.0, observed)
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(poisson_loss(predicted, observed, one, one), predicted)
    return slope.abs().max()


def _exit_parts() -> tuple[Tensor, Tensor]:
    stream = torch.Generator().manual_seed(0)
    patches = torch.randn(1, 1, 8, 8, dtype=torch.complex64, generator=stream)
    return patches, torch.randn(2, 8, 8, dtype=torch.complex64, generator=stream)


def _exit_power() -> float:
    patches, probe = _exit_parts()
    return float((patches[:, :, None] * probe).abs().square().sum())
