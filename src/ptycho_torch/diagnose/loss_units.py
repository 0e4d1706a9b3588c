"""Do the losses in force have the units that they claim? Checks worked out by hand, and the data's.

Predicted amplitude 2, observed 3: the Poisson loss must see rate 4 and observation 9, and the MAE
must be 1.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ptycho_torch.data.batch import SplitScales
from ptycho_torch.data.dataset_file import read_split
from ptycho_torch.physics.forward import intensities

Check = dict[str, Any]


def check_losses() -> list[Check]:
    """Return the checks of the losses as training takes them, and of the forward model: `check`,
    `expected`, `found`, `passed`."""
    pair = torch.full((2, 1, 1, 1), 2.0), torch.full((2, 1, 1, 1), 3.0)
    scales = SplitScales(intensity_scale=1.0, mean_amplitude=1.0, mean_counts=1.0)
    stream = torch.Generator().manual_seed(0)
    patches = torch.randn(1, 1, 8, 8, dtype=torch.complex64, generator=stream)
    probe = torch.randn(2, 8, 8, dtype=torch.complex64, generator=stream)
    power = float((patches[:, :, None] * probe).abs().square().sum())
    return [
        _check("MAE of predicted 2, observed 3", 1.0, float(scales.loss("mae", *pair))),
        _check(
            "Poisson loss of predicted 2, observed 3: rate 4, observation 9",
            4 - 9 * math.log(4) + math.lgamma(10),  # 4 - 9 ln 4 + ln 9!
            float(scales.loss("poisson", *pair)),
        ),
        _check(
            "forward model: intensities of a frame sum to its exit wave's (Parseval)",
            power,
            float(intensities(patches, probe).sum()),
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
        checks.append(_check(name, photons, seen, allowed))
    if (illuminated := split.arrays.get("Y_I")) is not None:
        name = "power of the patterns over that of the illuminated object (Parseval)"
        truth = float(np.square(illuminated, dtype=np.float64).sum())
        # Photon noise and a rounded scale differ by less.
        checks.append(_check(name, 1.0, float(power.sum()) / truth, 0.2))
    return checks


def _check(check: str, expected: float, value: float, allowed: float = 1e-4) -> Check:
    # `allowed` is relative.
    return {
        "check": check,
        "expected": f"{expected:.6g} within {100 * allowed:.2g} %",
        "found": f"{value:.6g}",
        "passed": abs(value / expected - 1) <= allowed,
    }
