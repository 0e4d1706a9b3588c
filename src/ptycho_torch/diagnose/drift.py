"""The drift hypothesis: does the mean activation grow from block to block, and in which networks?

Hypothesis: in `hybrid` it grows, since GELU's outputs have a positive mean that every residual
block adds; in `stable_hybrid` it does not, since its update starts at zero. The growth factor of a
network is the geometric mean over its Fourier blocks of mean |output| / mean |input|; its seeds
are held against a factor of 1.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.diagnose.evidence import Group, collect, interval_words, judge
from ptycho_torch.runtime.markdown import listed, number

Verdict = Literal["supported", "refuted", "undecided"]
_SAME = 1e-6

DRIFTING, STEADY = "hybrid", "stable_hybrid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What the seeds say of the drift hypothesis, before training."""

    verdict: Verdict
    """Of both halves together."""

    sentences: tuple[str, ...]
    """Half by half, with numbers."""

    fresh: tuple[Group, ...]
    """Growth factor a block of fresh networks."""

    trained: tuple[Group, ...]
    """The same of trained runs' best weights; no part of the verdict."""

    largest_update: float | None
    """Largest |mean| of a block's update in fresh `stable_hybrid` networks; 0 is the law."""


def judge_drift(reports: Sequence[Mapping[str, Any]], statistics: StatisticsSettings) -> Drift:
    """Return whether the mean grows in fresh `hybrid` and stays in fresh `stable_hybrid`.

    Parameters
    ----------
    reports
        Entries of activation reports, fresh and trained.
    """
    fresh = judge(
        collect(reports, "growth_per_block", state="fresh", initialisation="1/in"), 1.0, statistics
    )
    trained = judge(collect(reports, "growth_per_block", state="best"), 1.0, statistics)
    growing, staying = (_at_depths(fresh, kind) for kind in (DRIFTING, STEADY))
    grows, stays = _grows(growing), _stays(staying)
    verdict: Verdict = "undecided"
    if grows == stays == "supported":
        verdict = "supported"
    elif "refuted" in (grows, stays):
        verdict = "refuted"
    largest = _largest_update(reports)
    return Drift(
        verdict=verdict,
        sentences=(
            f"`{DRIFTING}` grows: {grows} ({_numbers(growing)})",
            f"`{STEADY}` does not: {stays} ({_numbers(staying)}; largest |mean| of a "
            f"block's update {number(largest)})",
        ),
        fresh=tuple(fresh),
        trained=tuple(trained),
        largest_update=largest,
    )


def _at_depths(groups: Sequence[Group], generator: str) -> list[Group]:
    """Return a generator's networks at the compared depths: `hybrid-4` and the like."""
    name = re.compile(rf"(.*/)?{re.escape(generator)}-\d+")
    return [group for group in groups if name.fullmatch(group.name)]


def steady(group: Group) -> bool:
    """Return whether every seed's factor is 1, as that of blocks that change nothing."""
    return bool(group.values) and all(abs(v - 1) <= _SAME for v in group.values.values())


def growth_words(group: Group) -> str:
    """Return what a group's seeds say of growth."""
    if not group.values:
        return "not defined"
    if steady(group):
        return "exactly 1: the blocks change nothing yet"
    return {"above": "grows", "below": "shrinks", "undecided": "undecided"}[group.side]


def _grows(groups: Sequence[Group]) -> Verdict:
    judged = [group for group in groups if group.values]
    if judged and all(group.side == "above" for group in judged):
        return "supported"
    if any(group.side == "below" or steady(group) for group in judged):
        return "refuted"
    return "undecided"


def _stays(groups: Sequence[Group]) -> Verdict:
    judged = [group for group in groups if group.values]
    if judged and all(steady(group) for group in judged):
        return "supported"
    return "refuted" if any(group.side == "above" for group in judged) else "undecided"


def _numbers(groups: Sequence[Group]) -> str:
    return listed([f"`{g.name}` {interval_words(g)}" for g in groups]) or "none was looked at"


def _largest_update(reports: Sequence[Mapping[str, Any]]) -> float | None:
    means = [
        abs(block["update_mean"])
        for entry in reports
        if entry["network"]["state"] == "fresh" and entry["network"].get("generator") == STEADY
        for block in entry.get("blocks", [])
        if block["update_mean"] is not None
    ]
    return max(means, default=None)
