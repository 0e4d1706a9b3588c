"""How results are judged: thresholds of outcomes, certainty of claims, parity, diagnoses.

None of it reaches a training: the rules that simulate and train do not depend on this file.
"""

from typing import Annotated

from pydantic import Field

from ptycho_torch.config.base import (
    AtLeastOne,
    Count,
    Different,
    Fraction,
    Name,
    NotNegative,
    Positive,
    Real,
    Seeds,
    Settings,
)

SSIM_WINDOW_PX = 7
"""Side of scikit-image's default window, uniform: smaller images cannot be scored."""


class EvaluationSettings(Settings):
    """Thresholds are part of the result: they are printed beside the outcomes."""

    trim_px: Annotated[int, Field(ge=0)] = 2
    """Pixels cut from each side of the stitched image before scoring."""
    remove_phase_plane: bool = False
    """Remove a fitted plane from the phase difference, not only a constant."""
    collapse_fraction: Fraction = 0.1
    """`collapsed`: the stitched amplitude's deviation is under this fraction of the truth's."""
    twin_share: Fraction = 0.5
    """`twin`: more than this share of the distinguishable patches is closer to the twin."""
    misfit_correlation: Fraction = 0.9
    """`misfit`: the median patch's exit wave correlates less with the true one and its twin ..."""
    misfit_pearson_r: Fraction = 0.5
    """... or the stitched amplitude's Pearson r with the truth's is under this."""
    constant_fraction: Fraction = 0.9
    """`stagnated`: the best validation loss is not under this fraction of the best constant
    object's; and no run counts as a success whose complex error is not under the constant's."""


class SuccessSettings(Settings):
    """What an arm must show; each condition that is set is judged by itself."""

    lowest_loss: bool = False
    """Its median best validation loss is the lowest of the stage."""
    no_failures: bool = False
    """None of its runs fails."""
    lowest_failure_rate: bool = False
    """No other arm fails less often."""
    fewer_failures_than_control: bool = False
    """It fails less often than the control."""
    max_loss_increase: NotNegative | None = None
    """Its median loss exceeds the control's by at most this fraction; null: not asked."""


class StatisticsSettings(Settings):
    """How certain a claim has to be."""

    confidence: Annotated[Real, Field(ge=0.5, lt=1)] = 0.95
    """Level of every interval; 1 minus it is the chance, at most, of a false claim anywhere in a
    study in which nothing differs."""
    resamples: Annotated[int, Field(ge=100)] = 9999
    """Random divisions of a permutation test where all are too many (50,000; 15 pairs)."""
    effect_of_interest: Fraction = 0.1
    """Difference of the loss, as a fraction, for which the summary says the seeds it takes."""
    power: Annotated[Real, Field(ge=0.5, lt=1)] = 0.8
    """Probability with which seeds that are named as enough would decide a comparison."""
    most_seeds: Annotated[int, Field(ge=2, le=300)] = 100
    """Largest number of seeds that is tried; beyond it the summary says "more than"."""


class ParitySettings(Settings):
    """Training and inference of one run, the first of Stage A's control."""

    tolerance: Fraction = 1e-3
    """What a ratio may deviate from 1, a relative MAE may be, an SSIM may lack to 1; no unit. The
    same weights see the same frames, which differ by 1e-6 or less on one device; groups of four
    are formed anew by inference and agree less."""


class DiagnosticsSettings(Settings):
    """Diagnoses of untrained and trained networks: `snakemake diagnostics`, docs/study.md."""

    groups: Annotated[int, Field(ge=1, le=256)] = 16
    """Groups of the training split that every network sees; the bound on memory."""
    seeds: Seeds = list(range(10))
    """Seeds of untrained networks, whose weights are those that the runs start from."""
    depths: Annotated[list[Count], AtLeastOne, Different] = [4, 8]
    """Fourier blocks at which the untrained hybrid generators are compared."""
    stages: Annotated[list[Name], Different] | None = None
    """Stages whose trained runs are diagnosed; null: all; an empty list: none."""
    min_gradient_ratio: Fraction = 0.1
    """Mean gradient modulus of spectral over local weights: flagged below this."""
    min_output_ratio: Fraction = 0.1
    """Mean output modulus of a block's spectral over its local path: flagged below this."""
    max_p99_over_p50: Annotated[Real, Field(gt=1)] = 5.0
    """99th percentile of a layer's modulus over its median: flagged above this."""
    max_dc_share: Fraction = 0.5
    """Share of a layer's energy that the frames' means hold: flagged above this."""
    photon_tolerance: Positive = 0.01
    """Largest relative error of the dataset's photons by Parseval, beyond photon noise."""
