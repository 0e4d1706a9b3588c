"""One number of each seed, held against a threshold: what so many seeds support, and no more."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.runtime.markdown import number, plural
from ptycho_torch.statistics.estimates import (
    Interval,
    holm,
    level,
    paired_difference,
    pairs_needed,
)

Side = Literal["below", "above", "undecided"]
_SMALLEST = 1e-30


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Networks that differ by their seed alone, and one number of each."""

    name: str
    """Arm, or fresh network such as `hybrid-4`."""

    state: str
    """`fresh`, or the weights of runs: `best`."""

    values: dict[int, float]
    """Seed -> number; seeds where it is not defined are left out."""

    undefined: int
    """Seeds where it is not defined."""

    mean: float | None
    """Geometric mean."""

    interval: Interval | None
    """Of the geometric mean over seeds, at the study's level; null below two seeds."""

    p: float | None
    """Two-sided sign-flip p of "it lies at the threshold", corrected for the family (Holm)."""

    side: Side
    """On which side of the threshold the geometric mean is shown to lie."""

    def beyond(self, threshold: float, side: Side) -> int:
        """Return how many seeds lie on a side of the threshold."""
        below = sum(value < threshold for value in self.values.values())
        above = sum(value > threshold for value in self.values.values())
        return below if side == "below" else above

    def as_json(self) -> dict[str, Any]:
        """Return the group with its seeds as text, as JSON wants keys."""
        data = asdict(self)
        data["values"] = {str(seed): value for seed, value in self.values.items()}
        return data


Numbers = Mapping[tuple[str, str], Mapping[int, float | None]]
"""(name, state) -> seed -> number, None where it is not defined."""


def collect(entries: Iterable[Mapping[str, Any]], key: str, **labels: str) -> Numbers:
    """Return one number of every network whose label has these values, by name and state."""
    found: dict[tuple[str, str], dict[int, float | None]] = {}
    for entry in entries:
        what = entry["network"]
        if all(what.get(label, value) == value for label, value in labels.items()):
            group = found.setdefault((what["name"], what["state"]), {})
            group[what["seed"]] = entry.get(key)
    return found


def judge(numbers: Numbers, threshold: float, settings: StatisticsSettings) -> list[Group]:
    """Return each group with the side of the threshold on which its seeds show it to be.

    The groups are one family: their p values are corrected by Holm. A side is shown where the
    exact sign-flip test of log(number / threshold) and the bootstrap interval agree (ADR 4).

    Parameters
    ----------
    numbers
        Positive numbers; zero counts as very small.
    threshold
        > 0.
    settings
        Confidence and bootstrap.
    """
    known = {
        key: {seed: value for seed, value in group.items() if value is not None}
        for key, group in numbers.items()
    }
    tests = [
        paired_difference(
            [_log(value / threshold) for value in group.values()],
            confidence=settings.confidence,
            resamples=settings.bootstrap_resamples,
            seed=settings.bootstrap_seed,
        )
        for group in known.values()
    ]
    corrected = holm([test.p for test in tests if test.n])
    places = iter(corrected)
    groups = []
    for (name, state), test in zip(known, tests, strict=True):
        p = next(places) if test.n else None
        bounds = test.interval
        shown = p is not None and p <= level(settings.confidence) and bounds is not None
        side: Side = "undecided"
        if shown and bounds is not None and bounds.high < 0:
            side = "below"
        elif shown and bounds is not None and bounds.low > 0:
            side = "above"
        groups.append(
            Group(
                name=name,
                state=state,
                values=known[name, state],
                undefined=len(numbers[name, state]) - test.n,
                mean=None if test.mean is None else threshold * math.exp(test.mean),
                interval=_scaled(bounds, threshold),
                p=p,
                side=side,
            )
        )
    return groups


def seeds_needed(groups: Sequence[Group], settings: StatisticsSettings) -> str:
    """Return why groups are open: too few seeds for any claim, or too near the threshold."""
    families = {state: [g for g in groups if g.state == state] for state in ("fresh", "best")}
    parts = []
    for state, family in families.items():
        judged = [group for group in family if group.values]
        if any(group.side == "undecided" for group in judged):
            least = pairs_needed(settings.confidence, len(judged))
            has = min(len(group.values) for group in judged)
            what = "fresh networks" if state == "fresh" else "trained runs"
            parts.append(
                f"{what} have {plural(has, 'seed')}, at least {least} are needed for a claim"
                if has < least
                else f"{what} lie too near the threshold for {plural(has, 'seed')}"
            )
    return "; ".join(parts) or "no network has the number"


def interval_words(group: Group) -> str:
    """Return a group's geometric mean with its interval and number of seeds."""
    if group.mean is None:
        return "not defined"
    if group.interval is None:
        return f"{number(group.mean)} ({plural(len(group.values), 'seed')})"
    low, high = number(group.interval.low), number(group.interval.high)
    return f"{number(group.mean)} [{low}, {high}] ({plural(len(group.values), 'seed')})"


def _log(value: float) -> float:
    return math.log(max(value, _SMALLEST))


def _scaled(interval: Interval | None, threshold: float) -> Interval | None:
    if interval is None:
        return None
    return Interval(
        low=threshold * math.exp(interval.low), high=threshold * math.exp(interval.high)
    )
