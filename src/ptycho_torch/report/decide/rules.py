"""Gold, Silver, Pivot: what each rule asks for, and how far the runs meet it.

A condition is met, not met, or undecided, and never more than its test supports. Comparisons are
those of the stages' own summaries, with the same correction, so that no document says more than
another.
"""

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from ptycho_torch.config.arms import deep
from ptycho_torch.config.plan import stage_plan
from ptycho_torch.config.study import Study
from ptycho_torch.report.rendering import say
from ptycho_torch.statistics.compare import (
    Comparison,
    compare_failures,
    compare_score,
    with_seeds,
)
from ptycho_torch.statistics.depth import fails_at_depth
from ptycho_torch.statistics.runs import score_spread
from ptycho_torch.statistics.scores import loss_score
from ptycho_torch.statistics.verdict import Evidence, loss_at_most

State = Literal["met", "not met", "undecided"]
RuleName = Literal["pivot", "gold", "silver"]
_OF_BETTER: dict[bool | None, State] = {None: "undecided", True: "met", False: "not met"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing that a rule asks for."""

    condition: str
    """What is asked for, in words."""

    state: State
    """How far the runs show it."""

    sentence: str
    """Why, with numbers and n."""

    seeds_needed: int | None = None
    """Seeds per arm that would decide it, if the observed is true; null: decided, unknown."""

    seeds: str = ""
    """The same in words, with what it assumes; empty where it is decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Gold, Silver or Pivot."""

    rule: RuleName
    """Its name."""

    follows: str
    """What is done if it is met."""

    conditions: tuple[Condition, ...]
    """All must be met."""

    @property
    def state(self) -> State:
        """Met if every condition is; not met if one is refuted; else undecided."""
        states = [condition.state for condition in self.conditions]
        if all(state == "met" for state in states):
            return "met"
        return "not met" if "not met" in states else "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """What the decision is taken from."""

    study: Study
    """The study, with the blocks stage_b, pivot and decision."""

    shallow: pd.DataFrame
    """Runs of Stage A."""

    at_depth: pd.DataFrame
    """Runs of the pivot: control and mitigations, shallow and deep, and the further arm."""

    def evidence(self, stage: str) -> Evidence:
        """Return the runs of `stage_a` or `pivot` with what conditions are judged by."""
        runs = self.shallow if stage == "stage_a" else self.at_depth
        return Evidence(
            runs=runs,
            stage=stage_plan(self.study, stage),
            loss=loss_score(runs["val_loss_name"].tolist()),
            settings=self.study.statistics,
        )


def judge_rules(runs: Runs) -> tuple[Rule, ...]:
    """Return the three rules in the order in which they are considered: Pivot, Gold, Silver.

    Parameters
    ----------
    runs
        The study's runs.
    """
    decision, pivot = runs.study.decision, runs.study.pivot
    assert decision is not None and pivot is not None
    gold, silver = decision.gold, decision.silver
    conditions: dict[RuleName, tuple[Condition, ...]] = {
        "pivot": tuple(_failing(runs, arm) for arm in pivot.cures),
        "gold": (
            _lower_loss(runs, gold),
            _fewer_failures(runs, "stage_a", gold),
            _fewer_failures(runs, "pivot", gold),
            _holding(runs, gold),
        ),
        "silver": (
            _fewer_failures(runs, "stage_a", silver),
            _loss_kept(runs, silver, decision.max_loss_increase),
        ),
    }
    return tuple(
        Rule(rule=name, follows=say("follows", name, runs.study), conditions=found)
        for name, found in conditions.items()
    )


def _lower_loss(runs: Runs, arm: str) -> Condition:
    """Judge the median loss beside the control's, in the family of Stage A's summary."""
    evidence = runs.evidence("stage_a")
    pairs, loss = list(evidence.stage.pairs), evidence.loss
    tests = compare_score(evidence.runs, pairs, loss, evidence.settings)
    item = next(item for item in tests if item.arm == arm)
    spreads = {a: score_spread(evidence.runs, a, loss.column) for a in (arm, item.other)}
    return _compared(
        item,
        evidence,
        "a lower median loss",
        say("losses", item, spreads, evidence.settings),
    )


def _fewer_failures(runs: Runs, stage: str, arm: str) -> Condition:
    """Judge the failure rate beside the control's, in the family of the stage's summary."""
    evidence = runs.evidence(stage)
    name = arm if stage == "stage_a" else deep(runs.study, arm)
    tests = compare_failures(evidence.runs, list(evidence.stage.pairs), evidence.settings)
    item = next(item for item in tests if item.arm == name)
    asked = "fewer failures" if stage == "stage_a" else "fewer failures at depth"
    return _compared(item, evidence, asked, say("why", item, evidence.settings))


def _compared(item: Comparison, evidence: Evidence, asked: str, why: str) -> Condition:
    item = with_seeds(item, evidence.runs, evidence.settings)
    return Condition(
        condition=f"`{item.arm}` has {asked} than `{item.other}`",
        state=_OF_BETTER[item.better],
        sentence=why,
        seeds_needed=item.seeds.seeds if item.seeds else None,
        seeds=say("seeds_short", item, evidence.settings),
    )


def _failing(runs: Runs, arm: str) -> Condition:
    """Judge whether an arm is shown to fail at depth."""
    study = runs.study
    assert study.decision is not None and study.stage_b is not None
    found = fails_at_depth(
        deep(study, arm),
        arm,
        runs.evidence("pivot"),
        acceptable=study.decision.acceptable_failure_rate,
        settings=study.stage_b,
    )
    return Condition(
        condition=f"`{arm}` fails at {study.stage_b.fno_blocks} blocks",
        state=_OF_BETTER[found.fails],
        sentence=say("depth", found, study.statistics),
    )


def _holding(runs: Runs, arm: str) -> Condition:
    """Turn "fails at depth" round: it must not be shown; to be open is enough."""
    failing = _failing(runs, arm)
    return Condition(
        condition=f"`{arm}` is not shown to fail at depth",
        state="not met" if failing.state == "met" else "met",
        sentence=failing.sentence,
    )


def _loss_kept(runs: Runs, arm: str, bound: float) -> Condition:
    evidence = runs.evidence("stage_a")
    control = evidence.stage.control
    found = loss_at_most(arm, control, evidence, bound)
    states: dict[str, State] = {"met": "met", "not met": "not met"}
    return Condition(
        condition=say("loss_kept", arm, control, bound),
        state=states.get(found.status, "undecided"),
        sentence=say("loss_bound", found, evidence.settings),
    )
