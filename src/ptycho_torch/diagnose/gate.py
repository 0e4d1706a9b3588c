"""The decision gate: three hypotheses on why runs fail, in the order in which they are cured.

1. Spectral gradients are under a tenth of the local ones: "spectral scaling".
2. The loss has wrong units: "loss units".
3. The zero frequency dominates the activations: "input transform", asked only once the first two
   are clean, since both would move it.

A verdict is about the networks that were looked at, and says so.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ptycho_torch.config.evaluation import DiagnosticsSettings, StatisticsSettings
from ptycho_torch.diagnose.evidence import Group, Side, collect, judge, seeds_needed
from ptycho_torch.runtime.markdown import listed, number, plural

Verdict = Literal["holds", "does not hold", "undecided"]
Reports = Sequence[Mapping[str, Any]]

_MODES = (0.25, 0.5, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """One hypothesis with its evidence."""

    name: str
    """`spectral scaling`, `loss units` or `input transform`."""

    claim: str
    """What it says, with its threshold."""

    verdict: Verdict
    """As far as the seeds support."""

    because: str
    """With numbers and seeds."""

    follows: str
    """What to do next."""

    block: str | None = None
    """YAML for the study that does it; null: nothing to run."""

    groups: tuple[Group, ...] = ()
    """The evidence, where it is of seeds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the hypotheses are held against.

    gradients, activations: entries of all networks, fresh and trained; units: contents of
    `loss_units.json` of each dataset; control: arm that proposals vary; modes: of its generator.
    """

    gradients: Reports
    activations: Reports
    units: Reports
    control: str
    modes: int


def decide(
    facts: Facts, settings: DiagnosticsSettings, statistics: StatisticsSettings
) -> tuple[Hypothesis, Hypothesis, Hypothesis]:
    """Return the three hypotheses in their order."""
    spectral = _spectral(facts, settings, statistics)
    units = _units(facts.units)
    return spectral, units, _dynamic_range(facts, settings, statistics, (spectral, units))


def next_step(hypotheses: Sequence[Hypothesis]) -> str:
    """Return the one thing to do next: the first hypothesis that does not fail."""
    for hypothesis in hypotheses:
        if hypothesis.verdict != "does not hold":
            verb = "is undecided" if hypothesis.verdict == "undecided" else "holds"
            return f"{hypothesis.name} {verb}. {hypothesis.follows}"
    return "Nothing follows: none of the three hypotheses holds"


def _spectral(
    facts: Facts, settings: DiagnosticsSettings, statistics: StatisticsSettings
) -> Hypothesis:
    threshold = settings.min_gradient_ratio
    groups = _groups(facts.gradients, "spectral_local_ratio", threshold, statistics)
    verdict = overall(groups, "below")
    modes = sorted({max(1, round(facts.modes * share)) for share in _MODES})
    follows = {
        "holds": (
            "Find out whether it matters before curing it: a sweep of the modes. If fewer modes "
            "cost nothing, the spectral path hardly contributes, and its weights need a step of "
            "their own; if they do cost, the small gradients do no harm (Adam's step does not "
            "depend on their size)"
        ),
        "undecided": f"Decide it first: {seeds_needed(groups, statistics)}",
        "does not hold": "Nothing",
    }[verdict]
    block = _sweep("spectral_modes", facts.control, "generator.modes", modes)
    return Hypothesis(
        name="spectral scaling",
        claim=f"spectral gradients are under {threshold:g} of the local ones",
        verdict=verdict,
        because=_because(groups, "below", threshold, "the ratio"),
        follows=follows,
        block=block if verdict == "holds" else None,
        groups=tuple(groups),
    )


def _units(units: Reports) -> Hypothesis:
    checks = [
        (report["dataset"], check)
        for report in units
        for check in (*report["losses"], *report["dataset_checks"])
    ]
    failed = [
        f"{check['check']} on dataset {dataset}: expected {check['expected']}, found "
        f"{check['found']}"
        for dataset, check in checks
        if not check["passed"]
    ]
    return Hypothesis(
        name="loss units",
        claim="the loss, or the dataset's scale, has wrong units",
        verdict="holds" if failed else "does not hold",
        because="; ".join(failed)
        or f"all {plural(len(checks), 'check')} pass (they need no seeds)",
        follows=(
            "Mend the loss or the dataset's scale, then run the study again: until then no loss "
            "of any run means what it says"
            if failed
            else "Nothing"
        ),
    )


def _dynamic_range(
    facts: Facts,
    settings: DiagnosticsSettings,
    statistics: StatisticsSettings,
    before: Sequence[Hypothesis],
) -> Hypothesis:
    threshold = settings.max_dc_share
    groups = _groups(facts.activations, "dc_share", threshold, statistics)
    verdict = overall(groups, "above")
    open_ones = [item.name for item in before if item.verdict != "does not hold"]
    block = None
    if verdict == "does not hold":
        follows = "Nothing"
    elif open_ones:
        come = "comes" if len(open_ones) == 1 else "come"
        follows = f"Not yet: {listed(open_ones)} {come} first, and a cure there may move it"
    elif verdict == "undecided":
        follows = f"Decide it first: {seeds_needed(groups, statistics)}"
    else:
        follows = "Compare input transforms by a sweep"
        transforms = ["none", "sqrt", "log1p", "instance_norm"]
        block = _sweep("input_transforms", facts.control, "generator.input_transform", transforms)
    return Hypothesis(
        name="input transform",
        claim=(
            f"the frames' means hold more than {threshold:g} of the energy that enters the Fourier "
            "blocks (DC dominance)"
        ),
        verdict=verdict,
        because=_because(groups, "above", threshold, "the median share over blocks"),
        follows=follows,
        block=block,
        groups=tuple(groups),
    )


def overall(groups: Sequence[Group], side: Side) -> Verdict:
    """Return what the groups come to: one that is shown to be on that side is enough to hold.

    It does not hold only if every group that has the number is shown to be on the other side.
    """
    judged = [group for group in groups if group.values]
    if any(group.side == side for group in judged):
        return "holds"
    if judged and all(group.side not in (side, "undecided") for group in judged):
        return "does not hold"
    return "undecided"


def _groups(
    reports: Reports, key: str, threshold: float, statistics: StatisticsSettings
) -> list[Group]:
    """Judge fresh networks and trained runs as families of their own."""
    fresh = collect(reports, key, state="fresh", initialisation="1/in")
    best = collect(reports, key, state="best")
    return [*judge(fresh, threshold, statistics), *judge(best, threshold, statistics)]


def _because(groups: Sequence[Group], side: Side, threshold: float, what: str) -> str:
    parts = []
    for state, words in (("fresh", "fresh networks"), ("best", "trained runs")):
        judged = [group for group in groups if group.state == state and group.values]
        if not judged:
            parts.append(f"{words}: none has the number" if state == "fresh" else f"no {words}")
            continue
        values = [value for group in judged for value in group.values.values()]
        shown = [f"`{group.name}`" for group in judged if group.side == side]
        clean = [group for group in judged if group.side not in (side, "undecided")]
        beyond = sum(group.beyond(threshold, side) for group in judged)
        parts.append(
            f"{words}: {what} is {number(min(values))} to {number(max(values))}, {side} the "
            f"threshold in {beyond} of {plural(len(values), 'network')} "
            f"({_seeds(judged)}); shown for {listed(shown) or 'none'}, "
            f"refuted for {len(clean)} of {len(judged)}"
        )
    return ". ".join(part[:1].upper() + part[1:] for part in parts)


def _seeds(groups: Sequence[Group]) -> str:
    """Return how many seeds a network has; the range where they differ."""
    counts = sorted({len(group.values) for group in groups})
    return plural(counts[0], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"


def _sweep(name: str, arm: str, key: str, values: Sequence[Any]) -> str:
    """Return a block of YAML, to be laid beside the study's other sweeps."""
    return f"sweeps:\n  {name}:\n    arm: {arm}\n    sweep: {{{key}: {json.dumps(values)}}}"
