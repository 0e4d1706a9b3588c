"""Arms against each other: paired by seed where both succeeded, and by how often they failed.

A difference is supported only if its bootstrap interval excludes the reference value and its
exact test, corrected by Holm for the number of arms compared, reaches the level. Scores are not
corrected for one another.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.config.plan import StagePlan
from ptycho_torch.runtime.markdown import interval_text, number, p_text, percent, plain, plural
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.estimates import Difference, Interval
from ptycho_torch.statistics.power import SeedsNeeded, seeds_for_difference, seeds_for_rates
from ptycho_torch.statistics.runs import failures_of, paired_values
from ptycho_torch.statistics.scores import Score

FAILURE_RATE = "failure_rate"
"""Stands for a score's column in comparisons of failure rates."""

State = Literal["lower", "higher", "undecided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One arm against another in one number."""

    arm: str
    """The arm."""

    other: str
    """What it is compared with."""

    score: str
    """Column of the table of runs, or `failure_rate`."""

    label: str
    """As printed."""

    n: int
    """Pairs of successful runs; for the failure rate, runs of the arm."""

    estimate: float | None
    """Arm minus other: mean of the paired differences, or difference of the rates."""

    interval: Interval | None
    """Bootstrap interval of the mean; none for the failure rate."""

    p: float | None
    """Two-sided: sign-flip test, or Fisher's exact test."""

    p_holm: float | None
    """`p` after Holm's correction for the arms compared."""

    least_p: float
    """Least p that so many runs can give."""

    state: State
    """What is supported about the arm."""

    better: bool | None
    """Whether that is to the arm's good; null if undecided."""

    why: str
    """The reason in words, with numbers."""

    family: int
    """Comparisons that Holm's correction counts."""

    seeds: SeedsNeeded | None = None
    """How many seeds would decide it; null where it is decided, or not asked (`with_seeds`)."""

    @property
    def seeds_needed(self) -> int | None:
        """How many seeds would decide it; null if decided, or if no number is given."""
        return self.seeds.seeds if self.seeds else None

    @property
    def seeds_sentence(self) -> str:
        """The same in words, with what it assumes; empty if decided."""
        return self.seeds.sentence if self.seeds else ""

    @property
    def conclusion(self) -> str:
        """One line for a table."""
        if self.better is None:
            return f"undecided: {self.why}"
        return f"supported: {self.state} ({'better' if self.better else 'worse'})"


def others_of(stage: StagePlan, arm: str) -> list[str]:
    """Return every other arm of the stage."""
    return [name for name in stage.arms if name != arm]


def compare_score(
    runs: pd.DataFrame, pairs: Sequence[tuple[str, str]], score: Score, settings: StatisticsSettings
) -> list[Comparison]:
    """Return the paired differences of one score; Holm's family is `pairs`.

    Parameters
    ----------
    runs
        The table of runs.
    pairs
        (arm, other) for each comparison.
    score
        Which number, and which way is better.
    settings
        Confidence, and the bootstrap's resamples and seed.
    """
    found = []
    for arm, other in pairs:
        mine, theirs = paired_values(runs, arm, other, score.column)
        found.append(differences_of(mine - theirs, settings))
    corrected = estimates.holm([difference.p for difference in found])
    comparisons = []
    for (arm, other), difference, p_holm in zip(pairs, found, corrected, strict=True):
        state, why = judge(
            difference, p_holm=p_holm, family=len(pairs), confidence=settings.confidence
        )
        comparisons.append(
            Comparison(
                arm=arm,
                other=other,
                score=score.column,
                label=score.label,
                n=difference.n,
                estimate=difference.mean,
                interval=difference.interval,
                p=difference.p,
                p_holm=p_holm,
                least_p=estimates.least_sign_flip_p(difference.n),
                state=state,
                better=None
                if state == "undecided"
                else (state == "lower") == score.lower_is_better,
                why=why,
                family=len(pairs),
            )
        )
    return comparisons


def differences_of(values: NDArray[np.float64], settings: StatisticsSettings) -> Difference:
    """Return `estimates.paired_difference` under the study's settings."""
    return estimates.paired_difference(
        values.tolist(),
        confidence=settings.confidence,
        resamples=settings.bootstrap_resamples,
        seed=settings.bootstrap_seed,
    )


def judge(
    difference: Difference, *, p_holm: float | None, family: int, confidence: float
) -> tuple[State, str]:
    """Return what paired differences support about their mean, and why, in words."""
    n, needed, alpha = (
        difference.n,
        estimates.pairs_needed(confidence),
        estimates.level(confidence),
    )
    if n == 0 or difference.mean is None:
        return "undecided", "no seed at which both runs succeeded"
    if n < needed or difference.interval is None or difference.p is None or p_holm is None:
        least = number(estimates.least_sign_flip_p(n), 2)
        cannot = f"{plural(n, 'pair')} cannot reach p <= {plain(alpha)} (the least is {least})"
        return "undecided", f"{cannot}; {needed} pairs are the minimum"
    low, high = difference.interval.low, difference.interval.high
    where = f"the {percent(confidence)} interval {interval_text(difference.interval)}"
    if low <= 0 <= high:
        return "undecided", f"{where} includes 0"
    if difference.p > alpha:
        return "undecided", f"{p_text(difference.p)} is more than {plain(alpha)}"
    if p_holm > alpha:
        return "undecided", (
            f"{p_text(difference.p)} alone, {number(p_holm, 2)} after Holm's correction for "
            f"{family} comparisons"
        )
    why = f"{where} excludes 0 and {p_text(p_holm)}, {plural(n, 'pair')}"
    return ("lower" if high < 0 else "higher"), why


def compare_failures(
    runs: pd.DataFrame, pairs: Sequence[tuple[str, str]], settings: StatisticsSettings
) -> list[Comparison]:
    """Return Fisher's exact tests of failure rates; Holm's family is `pairs`."""
    counts = [(failures_of(runs, arm), failures_of(runs, other)) for arm, other in pairs]
    found = [estimates.fisher_p(mine, theirs) for mine, theirs in counts]
    alpha = estimates.level(settings.confidence)
    comparisons = []
    for (arm, other), (mine, theirs), p, p_holm in zip(
        pairs, counts, found, estimates.holm(found), strict=True
    ):
        estimate = mine[0] / mine[1] - theirs[0] / theirs[1]
        decided = p_holm is not None and p_holm <= alpha and estimate != 0
        least = estimates.least_fisher_p(mine[1], theirs[1])
        comparison = Comparison(
            arm=arm,
            other=other,
            score=FAILURE_RATE,
            label="failure rate",
            n=mine[1],
            estimate=estimate,
            interval=None,
            p=p,
            p_holm=p_holm,
            least_p=least,
            state="undecided",
            better=None,
            why=_rates_in_words(mine, theirs, p_holm, least),
            family=len(pairs),
        )
        if decided:
            fewer = estimate < 0
            comparison = replace(comparison, state="lower" if fewer else "higher", better=fewer)
        comparisons.append(comparison)
    return comparisons


def with_seeds(item: Comparison, runs: pd.DataFrame, settings: StatisticsSettings) -> Comparison:
    """Return a comparison with the number of seeds that would decide it, if it is undecided.

    Apart from the comparison itself, since the simulations take longer than all its tests.
    """
    if item.better is not None:
        return item
    if item.score == FAILURE_RATE:
        counts = failures_of(runs, item.arm), failures_of(runs, item.other)
        return replace(item, seeds=seeds_for_rates(*counts, family=item.family, settings=settings))
    mine, theirs = paired_values(runs, item.arm, item.other, item.score)
    seeds = seeds_for_difference(mine - theirs, family=item.family, settings=settings)
    return replace(item, seeds=seeds)


def _rates_in_words(
    mine: tuple[int, int], theirs: tuple[int, int], p_holm: float | None, least: float
) -> str:
    counts = f"{mine[0]} of {mine[1]} runs failed against {theirs[0]} of {theirs[1]}"
    if mine[0] == theirs[0] == 0:
        return f"{counts}: no failure to tell them by"
    return (
        f"{counts}; Fisher's exact {p_text(p_holm)} after Holm's correction (the least that so "
        f"many runs can give alone is {number(least, 2)})"
    )


def as_table(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """Return `comparisons.csv`: a row per comparison, with its conclusion in words."""
    table = pd.DataFrame(
        [
            {
                "arm": item.arm,
                "control": item.other,
                "score": item.score,
                "n": item.n,
                "difference": item.estimate,
                "low": item.interval.low if item.interval else None,
                "high": item.interval.high if item.interval else None,
                "p": item.p,
                "p_holm": item.p_holm,
                "least_p": item.least_p,
                "state": item.state,
                "conclusion": item.conclusion,
                "seeds_needed": item.seeds_needed,
                "seeds_sentence": item.seeds_sentence,
            }
            for item in comparisons
        ],
        columns=[
            *("arm", "control", "score", "n", "difference", "low", "high"),
            *("p", "p_holm", "least_p", "state", "conclusion"),
            *("seeds_needed", "seeds_sentence"),
        ],
    )
    return table.astype({"seeds_needed": "Int64"})  # 13, not 13.0, beside empty cells
