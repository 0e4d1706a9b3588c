"""One number of each seed, held against a threshold: what so many seeds support, and no more."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.statistics import compare
from ptycho_torch.statistics.estimates import Interval, holm, paired_difference

Side = Literal["below", "above", "undecided"]
Entries = Sequence[Mapping[str, Any]]
_SIDES: dict[str, Side] = {"lower": "below", "higher": "above", "undecided": "undecided"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Networks that differ by their seed alone, and one number of each.

    name: arm, or untrained network such as `hybrid-4`; state: `fresh` (untrained), or `best`
    weights of runs; values: by seed, where defined, and how many are undefined; mean: geometric;
    interval: of it, null below two seeds; p: two-sided sign-flip p of "it lies at the threshold",
    corrected for the family (Holm); side: where the mean is shown to lie.
    """

    name: str
    state: str
    values: dict[int, float]
    undefined: int
    mean: float | None
    interval: Interval | None
    p: float | None
    side: Side

    def beyond(self, threshold: float, side: str) -> int:
        """Return how many seeds lie on a side of the threshold."""
        values = self.values.values()
        return sum(v < threshold if side == "below" else v > threshold for v in values)


def judge_states(
    entries: Entries, key: str, threshold: float, settings: StatisticsSettings
) -> list[Group]:
    """Judge one number of untrained networks and of trained runs, as families of their own."""
    groups = []
    for state in ("fresh", "best"):
        family: dict[str, dict[int, float | None]] = {}
        for entry in entries:
            what = entry["network"]
            if what["state"] == state and what.get("initialisation", "1/in") == "1/in":
                family.setdefault(what["name"], {})[what["seed"]] = entry.get(key)
        groups += judge(family, state, threshold, settings)
    return groups


def judge(
    numbers: Mapping[str, Mapping[int, float | None]],
    state: str,
    threshold: float,
    settings: StatisticsSettings,
) -> list[Group]:
    """Return each group with the side of the threshold on which its seeds show it to be.

    numbers: name -> seed -> positive number, None where it is not defined. The groups are one
    family: their p values are corrected by Holm. A side is shown where the exact sign-flip test of
    log(number / threshold) and its interval agree (ADR 4).
    """
    known, tests = {}, {}
    for name, group in numbers.items():
        known[name] = {seed: value for seed, value in group.items() if value is not None}
        # Zero counts as very small.
        logs = [math.log(max(value / threshold, 1e-30)) for value in known[name].values()]
        tests[name] = paired_difference(logs, settings)
    tested = [name for name, test in tests.items() if test.n]
    corrected = dict(zip(tested, holm([tests[name].p for name in tested]), strict=True))
    groups = []
    for name, test in tests.items():
        p_holm = corrected.get(name)
        sign, _ = compare.judge(test, p_holm=p_holm, confidence=settings.confidence)
        interval = None
        if test.interval is not None:
            low, high = (threshold * math.exp(v) for v in (test.interval.low, test.interval.high))
            interval = Interval(low=low, high=high)
        groups.append(
            Group(
                name=name,
                state=state,
                values=known[name],
                undefined=len(numbers[name]) - test.n,
                mean=None if test.mean is None else threshold * math.exp(test.mean),
                interval=interval,
                p=p_holm,
                side=_SIDES[sign],
            )
        )
    return groups
