"""The law of each metric, and the images that they are tried on."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from ptycho_torch.evaluate import align, frc, real_data, scores
from ptycho_torch.evaluate.align import MARGIN_PX, register
from ptycho_torch.physics import predict

SIDE = 24


def smooth(seed):
    """Complex, with a mean modulus near 2 and phases that vary by about a radian."""
    random = np.random.default_rng(seed)
    amplitude, phase = (gaussian_filter(random.normal(size=(SIDE, SIDE)), 2) for _ in range(2))
    return (2 + 4 * amplitude) * np.exp(4j * phase)


TRUTH = smooth(0)
PRED = TRUTH + 0.2 * smooth(1) + 0.3 * np.random.default_rng(2).normal(size=TRUTH.shape)


@dataclass(frozen=True, kw_only=True)
class Laws:
    """How a metric must behave; `of(truth, prediction)` is a number, or None where undefined.

    best: what a perfect prediction scores, None if that is not defined. higher: whether more is
    better; None: it is no score but an estimate. symmetric: the same with both swapped; the other
    three name what scaling by 3, turning by 0.7 rad and adding 0.5 do: nothing ("same"), "worse",
    or a function of the value before. constant: of a constant prediction.
    """

    of: Callable
    best: float | None
    higher: bool | None
    symmetric: bool
    scaled: str | Callable = "worse"
    turned: str | Callable = "same"
    added: str | Callable = "worse"
    constant: str | float | None = "worse"


def kind(name):
    return lambda truth, pred: scores.value_of(scores.image_scores(abs(truth), abs(pred))[name])


def r_factor(truth, pred):
    return known(predict.r_factor(abs(pred)[None], abs(truth)[None]))


def registered(free):
    """Relative distance that is left after registration of the prediction, given a margin."""

    def of(truth, pred):
        moved = register(truth, np.pad(pred, MARGIN_PX, mode="wrap"), free=free).image_HW
        return known(float(np.linalg.norm(moved - truth) / np.linalg.norm(truth)))

    return of


def phases_apart(truth, pred):
    one, other = align.aligned_phases(truth, pred)
    return known(float(np.abs(np.angle(np.exp(1j * (one - other)))).mean()))


def plane_size(truth, pred):
    return known(float(np.abs(align.phase_plane(truth, pred)).max()))


def curve_mean(truth, pred):
    return float(frc.ring_correlation(truth, pred).mean())


def known(value):
    return value if value is not None and math.isfinite(value) else None


def contrast_correlation(truth, pred):
    return real_data.similarity(truth, pred)["contrast_correlation"]


METRICS = {
    "image_scores.ssim": Laws(of=kind("ssim"), best=1, higher=True, symmetric=False),
    "image_scores.mae": Laws(of=kind("mae"), best=0, higher=False, symmetric=True),
    "image_scores.psnr_db": Laws(of=kind("psnr_db"), best=None, higher=True, symmetric=False),
    "image_scores.pearson_r": Laws(
        of=kind("pearson_r"), best=1, higher=True, symmetric=True, scaled="same", added="any",
        constant=None,
    ),
    "image_scores.std_ratio": Laws(
        of=kind("std_ratio"), best=1, higher=None, symmetric=False, scaled=lambda v: 3 * v,
        added="any", constant=0.0,
    ),
    "image_scores.frc_half": Laws(
        of=kind("frc_half"), best=0.5, higher=True, symmetric=True, scaled="same", added="any",
        constant=None,
    ),
    "image_scores.frc_seventh": Laws(
        of=kind("frc_seventh"), best=0.5, higher=True, symmetric=True, scaled="same", added="any",
        constant=None,
    ),
    "ssim": Laws(
        of=lambda t, p: scores.value_of(scores.ssim(abs(t), abs(p))), best=1, higher=True, symmetric=False
    ),
    "amplitude_factor": Laws(
        of=lambda t, p: known(align.amplitude_factor(abs(t), abs(p))), best=1, higher=None,
        symmetric=False, scaled=lambda v: v / 3, added="any", constant="any",
    ),
    "phase_plane": Laws(
        of=plane_size, best=0, higher=None, symmetric=True, scaled="same", added="any",
        constant="any",
    ),
    "aligned_phases": Laws(
        of=phases_apart, best=0, higher=False, symmetric=True, scaled="same"
    ),
    "complex_error": Laws(
        of=lambda t, p: known(align.complex_error(t, p)), best=0, higher=False, symmetric=True,
        scaled="same",
    ),
    "ring_correlation": Laws(
        of=curve_mean, best=1, higher=True, symmetric=True, scaled="same", turned="worse",
        added="same",
    ),
    "correlation": Laws(
        of=align.correlation, best=1, higher=True, symmetric=True, scaled="same",
    ),
    "similarity.contrast_correlation": Laws(
        of=contrast_correlation, best=1, higher=True, symmetric=True, scaled="same",
        added="same", constant="any",
    ),
    "r_factor": Laws(of=r_factor, best=0, higher=False, symmetric=False),
    "register.phase": Laws(of=registered("phase"), best=0, higher=False, symmetric=False),
    "register.all": Laws(
        of=registered("all"), best=0, higher=False, symmetric=False, scaled="same"
    ),
}  # fmt: skip
