"""Do the losses in force have the units that they claim? Checks worked out by hand, and the data's.

Predicted amplitude 2, observed 3: the Poisson loss must see rate 4 and observation 9, and the MAE
must be 1.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ptycho_torch.data.batch import SplitScales
from ptycho_torch.data.dataset_file import read_split
from ptycho_torch.physics.forward import intensities

Check = dict[str, Any]


def check_losses() -> list[Check]:
    """Return the checks of the losses as training takes them, and of the forward model: `check`,
    `expected`, `found`, `passed`."""
    predicted, observed = torch.full((2, 1, 1, 1), 2.0), torch.full((2, 1, 1, 1), 3.0)
    scales = SplitScales(intensity_scale=1.0, mean_amplitude=1.0, mean_counts=1.0)
    stream = torch.Generator().manual_seed(0)
    patches = torch.randn(1, 1, 8, 8, dtype=torch.complex64, generator=stream)
    probe = torch.randn(2, 8, 8, dtype=torch.complex64, generator=stream)
    power = float((patches[:, :, None] * probe).abs().square().sum())
    return [
        _near("MAE of predicted 2, observed 3", 1.0, scales.loss("mae", predicted, observed)),
        _near(
            "Poisson loss of predicted 2, observed 3: rate 4, observation 9",
            4 - 9 * math.log(4) + math.lgamma(10),  # 4 - 9 ln 4 + ln 9!
            scales.loss("poisson", predicted, observed),
        ),
        _near(
            "forward model: intensities of a frame sum to its exit wave's (Parseval)",
            power,
            intensities(patches, probe).sum(),
        ),
    ]


def check_dataset(
    path: str | Path, *, patch_px: int, photons: float | None, tolerance: float
) -> list[Check]:
    """Return the checks of a training split: photons by Parseval, and amplitudes as such.

    photons: mean photons of a pattern that were requested; None: not known, not checked; tolerance:
    relative difference that is allowed beside five standard deviations of photon noise. Raises as
    `read_split`.
    """
    split = read_split(path, patch_px=patch_px, photons=photons or 1e9)
    power = np.square(split.diffraction_nCHW, dtype=np.float64).sum(axis=(-2, -1))
    checks = []
    if photons is not None:
        name = "mean photons of a pattern, sum of (s A)^2"
        allowed = tolerance + 5 / math.sqrt(photons * power.size)
        seen = float(power.mean() * split.intensity_scale**2)
        checks.append(_compared(name, photons, seen, allowed))
    if (illuminated := split.arrays.get("Y_I")) is not None:
        name = "power of the patterns over that of the illuminated object (Parseval)"
        truth = float(np.square(illuminated, dtype=np.float64).sum())
        # As far as read_split warns: beyond it amplitudes are no amplitudes.
        checks.append(_compared(name, 1.0, float(power.sum()) / truth, 0.2))
    return checks


def _near(check: str, expected: float, value: Tensor) -> Check:
    near = math.isclose(float(value), expected, rel_tol=1e-4, abs_tol=1e-4)
    return _check(check, f"{expected:.6g}", f"{float(value):.6g}", near)


def _compared(check: str, expected: float, value: float, allowed: float) -> Check:
    limit = f"{expected:.6g} within {100 * allowed:.2g} %"
    return _check(check, limit, f"{value:.6g}", abs(value / expected - 1) <= allowed)


def _check(check: str, expected: str, found: str, passed: bool) -> Check:
    return {"check": check, "expected": expected, "found": found, "passed": passed}
