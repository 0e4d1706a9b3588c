"""The decision gate: three hypotheses on why runs fail, in the order of their mitigations.

1. Spectral gradients are under a tenth of the local ones: "spectral scaling".
2. The loss has wrong units: "loss units".
3. The zero frequency dominates the activations: "input transform", asked only once the first two
   are clean, since both would move it.

A verdict is about the networks that were looked at, and says so. Beside the gate stands the drift
of the mean activation with depth, which decides nothing.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.config.study import Study
from ptycho_torch.runtime.templates import template
from ptycho_torch.statistics.estimates import (
    Interval,
    holm,
    level,
    paired_difference,
    pairs_needed,
)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """One hypothesis with its evidence: the claim with its threshold, the verdict that the seeds
    support, why (`because`), what to do next (`follows`), YAML for the study that does it (`block`,
    null: nothing to run), and groups, where the evidence is of seeds."""

    name: str
    claim: str
    verdict: Verdict
    because: str
    follows: str
    block: str | None = None
    groups: tuple[Group, ...] = ()


def say(sentence: str, **values: Any) -> str:
    """Return a sentence of `templates/sentences.j2` in one line."""
    macro = getattr(template("diagnose", "sentences.j2").module, sentence)
    return " ".join(str(macro(**values)).split())


def decide(
    study: Study, *, gradients: Entries, activations: Entries, units: Entries
) -> tuple[Hypothesis, Hypothesis, Hypothesis]:
    """Return the three hypotheses in their order, from the entries of all networks and the
    contents of each dataset's `loss_units.json`."""
    settings, stage = study.diagnostics, study.stage_a
    modes = run_settings(study, stage.dataset, stage.control, 0).generator.modes
    shares = sorted({max(1, round(modes * share)) for share in (0.25, 0.5, 1.0)})
    transforms = ["none", "sqrt", "log1p", "instance_norm"]
    spectral = _of_seeds(
        study, gradients, name="spectral scaling", key="spectral_local_ratio", side="below",
        threshold=settings.min_gradient_ratio,
        block=_sweep(study, "spectral_modes", "generator.modes", shares),
    )  # fmt: skip
    of_units = _of_units(units)
    before = [h.name for h in (spectral, of_units) if h.verdict != "does not hold"]
    transform = _of_seeds(
        study, activations, name="input transform", key="dc_share", side="above",
        threshold=settings.max_dc_share, before=before,
        block=_sweep(study, "input_transforms", "generator.input_transform", transforms),
    )  # fmt: skip
    return spectral, of_units, transform


def next_step(hypotheses: Sequence[Hypothesis]) -> str:
    """Return the one thing to do next: that of the first hypothesis that is not refuted."""
    open_ones = [h for h in hypotheses if h.verdict != "does not hold"]
    return say("next", hypothesis=open_ones[0] if open_ones else None)


def _sweep(study: Study, title: str, key: str, choices: Sequence[Any]) -> str:
    return (
        f"sweeps:\n  {title}:\n    arm: {study.stage_a.control}\n"
        f"    sweep: {{{key}: {json.dumps(choices)}}}"
    )


def _of_seeds(
    study: Study, entries: Entries, *, name: str, key: str, side: Side, threshold: float,
    block: str, before: Sequence[str] = (),
) -> Hypothesis:  # fmt: skip
    """Judge a hypothesis by groups of seeds: one that is shown to be on its side is enough to hold;
    it does not hold only if every group that has the number is shown to be on the other side."""
    groups = judge_states(entries, key, threshold, study.statistics)
    sides = {group.side for group in groups if group.values}
    verdict: Verdict = "does not hold" if sides and "undecided" not in sides else "undecided"
    if side in sides:
        verdict = "holds"
    families = []
    for state in ("fresh", "best"):
        judged = [group for group in groups if group.state == state and group.values]
        least = pairs_needed(study.statistics.confidence, len(judged)) if judged else 0
        families.append({"state": state, "groups": judged, "least": least})
    return Hypothesis(
        name=name,
        claim=say("claim", name=name, threshold=threshold),
        verdict=verdict,
        because=say("because", name=name, side=side, threshold=threshold, families=families),
        follows=say("follows", name=name, verdict=verdict, before=before, families=families),
        block=block if verdict == "holds" and not before else None,
        groups=tuple(groups),
    )


def _of_units(units: Entries) -> Hypothesis:
    checks = [
        {"dataset": report["dataset"], **check}
        for report in units
        for check in (*report["losses"], *report["dataset_checks"])
    ]
    failed = [check for check in checks if not check["passed"]]
    verdict: Verdict = "holds" if failed else "does not hold"
    return Hypothesis(
        name="loss units",
        claim=say("claim", name="loss units", threshold=None),
        verdict=verdict,
        because=say("checks", failed=failed, total=len(checks)),
        follows=say("follows", name="loss units", verdict=verdict, before=(), families=()),
    )


def judge_drift(entries: Entries, study: Study) -> dict[str, Any]:
    """Judge whether the mean activation grows from block to block in untrained networks.

    Hypothesis: in `hybrid` it grows, since GELU's outputs have a positive mean that every residual
    block adds; in `stable_hybrid` it does not, since its update starts at zero. The growth factor,
    the geometric mean over a network's blocks of mean |output| / mean |input|, is held against 1.
    Returns `verdict` of both halves (supported, refuted or undecided); `sentences`, half by half;
    `fresh`, `trained`: groups of growth factors, the latter no part of the verdict;
    `largest_update`: largest |mean| of a block's update in untrained `stable_hybrid` networks.
    """
    groups = judge_states(entries, "growth_per_block", 1.0, study.statistics)
    untrained = [group for group in groups if group.state == "fresh"]
    growing, staying = (_compared(untrained, kind) for kind in ("hybrid", "stable_hybrid"))
    grows = _half(
        growing, all(g.side == "above" for g in growing),
        any(g.side == "below" or steady(g) for g in growing),
    )  # fmt: skip
    stays = _half(staying, all(map(steady, staying)), any(g.side == "above" for g in staying))
    kind = {"state": "fresh", "generator": "stable_hybrid"}
    updates = [
        abs(block["update_mean"])
        for entry in entries
        if kind.items() <= entry["network"].items()
        for block in entry.get("blocks", [])
        if block["update_mean"] is not None
    ]
    largest = max(updates, default=None)
    both = {grows, stays}
    return {
        "verdict": grows if len(both) == 1 else "refuted" if "refuted" in both else "undecided",
        "sentences": [
            say("drifting", verdict=grows, groups=growing),
            say("steady", verdict=stays, groups=staying, largest=largest),
        ],
        "fresh": untrained,
        "trained": [group for group in groups if group.state == "best"],
        "largest_update": largest,
    }


def steady(group: Group) -> bool:
    """Return whether every seed's factor is 1, as that of blocks that change nothing."""
    return bool(group.values) and all(abs(v - 1) <= 1e-6 for v in group.values.values())


def _compared(groups: Sequence[Group], generator: str) -> list[Group]:
    """Return the groups with values of a generator at the compared depths, as `hybrid-4`."""
    name = re.compile(rf"(.*/)?{generator}-\d+")
    return [group for group in groups if name.fullmatch(group.name) and group.values]


def _half(groups: Sequence[Group], supported: bool, refuted: bool) -> str:
    return "supported" if groups and supported else "refuted" if refuted else "undecided"


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
    family: their p values are corrected by Holm. A side is shown by the exact sign-flip test of
    log(number / threshold), which the interval inverts.
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
        side: Side = "undecided"
        if test.mean and p_holm is not None and p_holm <= level(settings.confidence):
            side = "below" if test.mean < 0 else "above"
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
                side=side,
            )
        )
    return groups
