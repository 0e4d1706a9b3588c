"""How a reconstruction is judged: alignment, and the thresholds of each outcome."""

from typing import Annotated

from pydantic import Field

from ptycho_torch.config.base import Fraction, Positive, Real, Settings


class EvaluationSettings(Settings):
    """Thresholds are part of the result: they are printed beside the outcomes."""

    trim_px: Annotated[int, Field(ge=0)] = 2
    """Pixels cut from each side of the stitched image before scoring."""

    remove_phase_plane: bool = False
    """Remove a fitted plane from the phase difference, not only a constant."""

    collapse_fraction: Fraction = 0.1
    """`collapsed`: standard deviation of the stitched amplitude under this fraction of the
    truth's."""

    twin_share: Fraction = 0.5
    """`twin`: more than this share of the distinguishable patches is closer to the twin."""

    misfit_correlation: Fraction = 0.9
    """`misfit`: the median patch's exit wave correlates less than this with the true wave and
    with its twin ..."""

    misfit_pearson_r: Fraction = 0.5
    """... or its stitched amplitude has a Pearson r under this with the truth's (waves agree by
    their probe and mean alone, amplitudes do not) ..."""

    misfit_loss: Positive = 0.25
    """... although the best validation loss is at most this (relative, predicting nothing is 1);
    with a higher loss the same is `stagnated`."""


class StatisticsSettings(Settings):
    """How certain a claim has to be."""

    confidence: Annotated[Real, Field(ge=0.5, lt=1)] = 0.95
    """Level of every interval; 1 minus it is the level of every test."""

    bootstrap_resamples: Annotated[int, Field(ge=100)] = 9999
    """Resamples of the paired bootstrap."""

    bootstrap_seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the resampling, and of the simulations of power."""

    power: Annotated[Real, Field(ge=0.5, lt=1)] = 0.8
    """Probability with which the seeds that are named as enough would decide a comparison."""

    most_seeds: Annotated[int, Field(ge=2, le=300)] = 100
    """Largest number of seeds that is tried; beyond it the summary says "more than"."""

    power_simulations: Annotated[int, Field(ge=100, le=20_000)] = 2000
    """Simulated studies per number of seeds. 2000 give the power to about 1 %."""

    worthwhile_failure_difference: Fraction = 0.25
    """Difference of failure rates to plan for where the seen rates are equal; 0.25 is one run
    in four."""
