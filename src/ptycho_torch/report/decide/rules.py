"""Gold, Silver, Pivot: what each rule asks, and how far the runs meet it.

A condition is met, not met, or undecided, and never more than its test supports. Comparisons are
those of the stages' own summaries, with the same correction, so that no document says more than
another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from ptycho_torch.config.arms import deep
from ptycho_torch.config.plan import stage_plan
from ptycho_torch.config.study import Study
from ptycho_torch.report.wording import about_bound, about_depth, seeds_short, why
from ptycho_torch.runtime.markdown import percent
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing that a rule asks."""

    condition: str
    """What is asked, in words."""

    state: State
    """How far the runs show it."""

    sentence: str
    """Why, with numbers and n."""

    seeds_needed: int | None = None
    """Seeds per arm that would decide it, if what was seen is true; null: decided or unknown."""

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
    """Runs of the pivot: control and cures, shallow and deep, and the further arm."""

    def evidence(self, stage: Literal["stage_a", "pivot"]) -> Evidence:
        """Return a stage's runs with what conditions are judged by."""
        runs = self.shallow if stage == "stage_a" else self.at_depth
        return Evidence(
            runs=runs,
            stage=stage_plan(self.study, stage),
            loss=loss_score(runs["val_loss_name"].tolist()),
            settings=self.study.statistics,
        )


def judge_rules(runs: Runs) -> tuple[Rule, ...]:
    """Return the three rules in the order in which they are asked: Pivot, Gold, Silver.

    Parameters
    ----------
    runs
        The study's runs.
    """
    study, decision = runs.study, runs.study.decision
    assert decision is not None and study.pivot is not None
    by_depth = {cure: _depth(runs, cure) for cure in study.pivot.cures}
    gold, silver = decision.gold, decision.silver
    pivot = Rule(
        rule="pivot",
        follows=f"the further arm `{study.pivot.arm}` takes the place of the cures",
        conditions=tuple(by_depth.values()),
    )
    return (
        pivot,
        Rule(
            rule="gold",
            follows=f"the generator of `{gold}` becomes the default",
            conditions=(
                _compared(runs, "stage_a", gold, "a lower median loss", loss=True),
                _compared(runs, "stage_a", gold, "fewer failures"),
                _compared(runs, "pivot", gold, "fewer failures at depth"),
                _not_failing(by_depth[gold], gold),
            ),
        ),
        Rule(
            rule="silver",
            follows=f"the clipping of `{silver}` becomes the training policy",
            conditions=(
                _compared(runs, "stage_a", silver, "fewer failures"),
                _loss_kept(runs, silver, decision.max_loss_increase),
            ),
        ),
    )


def _compared(
    runs: Runs,
    stage: Literal["stage_a", "pivot"],
    arm: str,
    asked: str,
    *,
    loss: bool = False,
) -> Condition:
    """Judge an arm against the control of its stage, in the family of the stage's summary."""
    evidence = runs.evidence(stage)
    pairs = list(evidence.stage.pairs)
    found: Sequence[Comparison] = (
        compare_score(evidence.runs, pairs, evidence.loss, evidence.settings)
        if loss
        else compare_failures(evidence.runs, pairs, evidence.settings)
    )
    name = arm if stage == "stage_a" else deep(runs.study, arm)
    item = with_seeds(
        next(item for item in found if item.arm == name), evidence.runs, evidence.settings
    )
    state: State = "undecided" if item.better is None else "met" if item.better else "not met"
    return Condition(
        condition=f"`{item.arm}` has {asked} than `{item.other}`",
        state=state,
        sentence=_with_medians(item, evidence) if loss else why(item, evidence.settings),
        seeds_needed=item.seeds.seeds if item.seeds else None,
        seeds=seeds_short(item.seeds, evidence.settings),
    )


def _with_medians(item: Comparison, evidence: Evidence) -> str:
    spreads = [
        score_spread(evidence.runs, arm, evidence.loss.column) for arm in (item.arm, item.other)
    ]
    said = [
        f"{arm} {spread.median:.3g} (n = {spread.n})"
        for arm, spread in zip((item.arm, item.other), spreads, strict=True)
        if spread.median is not None
    ]
    return f"medians: {', '.join(said) or 'none'}; {why(item, evidence.settings)}"


def _depth(runs: Runs, cure: str) -> Condition:
    """Judge whether a cure is shown to fail at depth."""
    study = runs.study
    assert study.decision is not None and study.stage_b is not None
    found = fails_at_depth(
        deep(study, cure),
        cure,
        runs.evidence("pivot"),
        acceptable=study.decision.acceptable_failure_rate,
        settings=study.stage_b,
    )
    state: State = "undecided" if found.fails is None else "met" if found.fails else "not met"
    return Condition(
        condition=f"`{cure}` fails at {study.stage_b.fno_blocks} blocks",
        state=state,
        sentence=about_depth(found, study.statistics),
    )


def _not_failing(depth: Condition, arm: str) -> Condition:
    """Turn "fails at depth" round: it must not be shown; to be open is enough."""
    state: State = "not met" if depth.state == "met" else "met"
    return Condition(
        condition=f"`{arm}` is not shown to fail at depth", state=state, sentence=depth.sentence
    )


def _loss_kept(runs: Runs, arm: str, bound: float) -> Condition:
    evidence = runs.evidence("stage_a")
    found = loss_at_most(arm, evidence.stage.control, evidence, bound)
    states: dict[str, State] = {"met": "met", "not met": "not met"}
    return Condition(
        condition=(
            f"the loss of `{arm}` is at most {percent(bound)} above that of "
            f"`{evidence.stage.control}`"
        ),
        state=states.get(found.status, "undecided"),
        sentence=about_bound(found, evidence.settings, ratio=True),
    )
