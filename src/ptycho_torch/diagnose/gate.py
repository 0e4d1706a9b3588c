"""The decision gate: three hypotheses on why runs fail, in the order of their mitigations.

1. Spectral gradients are under a tenth of the local ones: "spectral scaling".
2. The loss has wrong units: "loss units".
3. The zero frequency dominates the activations: "input transform", asked only once the first two
   are clean, since both would move it.

A verdict is about the networks that were looked at. Beside the gate stands the drift of the mean
activation with depth, which decides nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.config.study import Study
from ptycho_torch.statistics.estimates import Interval, holm, level, paired_difference

Verdict = Literal["holds", "does not hold", "undecided"]
Side = Literal["below", "above", "undecided"]
Entries = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Networks that differ by their seed alone, and one number of each.

    name: arm, or untrained network such as `hybrid-4`; state: `fresh` (untrained) or `best` weights
    of runs; values: by seed, where defined; mean: geometric, with its interval; p: two-sided
    sign-flip p of "it lies at the threshold", corrected (Holm); side: where it is shown to lie.
    """

    name: str
    state: str
    generator: str
    values: dict[int, float]
    mean: float | None
    interval: Interval | None
    p: float | None
    side: Side

    @property
    def unchanged(self) -> bool:
        """Whether every seed's number is 1, as the growth of blocks that change nothing."""
        return bool(self.values) and all(abs(v - 1) <= 1e-6 for v in self.values.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """One hypothesis and the verdict that its evidence supports: groups of seeds, or the checks of
    the loss's units that failed."""

    name: str
    verdict: Verdict
    groups: tuple[Group, ...] = ()
    failed_checks: tuple[dict[str, Any], ...] = ()


def decide(
    study: Study, *, gradients: Entries, activations: Entries, units: Entries
) -> tuple[Hypothesis, Hypothesis, Hypothesis]:
    """Return the three hypotheses in their order, from the entries of all networks and the
    contents of each dataset's `loss_units.json`."""
    limits = study.diagnostics
    ratios = judge(gradients, "spectral_local_ratio", limits.min_gradient_ratio, study.statistics)
    shares = judge(activations, "dc_share", limits.max_dc_share, study.statistics)
    failed = tuple(
        {"dataset": report["dataset"], **check}
        for report in units
        for check in (*report["losses"], *report["dataset_checks"])
        if not check["passed"]
    )
    return (
        Hypothesis(
            name="spectral scaling", verdict=_of_groups(ratios, "below"), groups=tuple(ratios)
        ),
        Hypothesis(
            name="loss units",
            verdict="holds" if failed else "does not hold",
            failed_checks=failed,
        ),
        Hypothesis(
            name="input transform", verdict=_of_groups(shares, "above"), groups=tuple(shares)
        ),
    )


def _of_groups(groups: Sequence[Group], side: Side) -> Verdict:
    """One group that is shown to be on the side is enough to hold; a hypothesis does not hold only
    if every group that has the number is shown to be on the other side."""
    sides = {group.side for group in groups if group.values}
    if side in sides:
        return "holds"
    return "does not hold" if sides and "undecided" not in sides else "undecided"


def judge_drift(
    entries: Entries, study: Study
) -> tuple[Literal["supported", "refuted", "undecided"], list[Group]]:
    """Judge whether the mean activation grows from block to block in untrained networks.

    Hypothesis: in `hybrid` it grows, since GELU's outputs have a positive mean that every residual
    block adds; in `stable_hybrid` it does not, since its update starts at zero. The growth factor,
    the geometric mean over a network's blocks of mean |output| / mean |input|, is held against 1.
    Returned are the verdict, and the groups, of trained runs too, which are no part of it.
    """
    groups = judge(entries, "growth_per_block", 1.0, study.statistics)
    growing, staying = (
        [g for g in groups if g.state == "fresh" and g.generator == name and g.values]
        for name in ("hybrid", "stable_hybrid")
    )
    if any(g.side == "below" or g.unchanged for g in growing) or any(
        g.side == "above" for g in staying
    ):
        return "refuted", groups
    grows = growing and all(g.side == "above" for g in growing)
    stays = staying and all(g.unchanged for g in staying)
    return "supported" if grows and stays else "undecided", groups


def judge(
    entries: Entries, key: str, threshold: float, settings: StatisticsSettings
) -> list[Group]:
    """Return each network's group with the side of the threshold on which its seeds show it to be.

    entries: of reports; their `key` is a positive number, or None where it is not defined.
    Untrained networks and trained runs are a family each, whose p values are corrected by Holm. A
    side is shown by the exact sign-flip test of log(number / threshold), which the interval
    inverts.
    """
    groups = []
    for state in ("fresh", "best"):
        values: dict[str, dict[int, float]] = {}
        generators = {}
        for entry in entries:
            network = entry["network"]
            if network["state"] == state:
                known = values.setdefault(network["name"], {})
                generators[network["name"]] = network["generator"]
                if entry.get(key) is not None:
                    known[network["seed"]] = entry[key]
        # Zero counts as very small.
        tests = {
            name: paired_difference(
                [math.log(max(value / threshold, 1e-30)) for value in known.values()], settings
            )
            for name, known in values.items()
        }
        tested = [name for name, test in tests.items() if test.n]
        corrected = dict(zip(tested, holm([tests[name].p for name in tested]), strict=True))
        for name, test in tests.items():
            p = corrected.get(name)
            side: Side = "undecided"
            if test.mean and p is not None and p <= level(settings.confidence):
                side = "below" if test.mean < 0 else "above"
            interval = None
            if test.interval is not None:
                ends = (test.interval.low, test.interval.high)
                low, high = (threshold * math.exp(end) for end in ends)
                interval = Interval(low=low, high=high)
            groups.append(
                Group(
                    name=name,
                    state=state,
                    generator=generators[name],
                    values=values[name],
                    mean=None if test.mean is None else threshold * math.exp(test.mean),
                    interval=interval,
                    p=p,
                    side=side,
                )
            )
    return groups
