"""The study's decision, Gold, Silver, Pivot or Undecided, with what each rule asks for.

A condition is met, not met, or undecided, and never more than its test supports. Comparisons are
those of the stages' own summaries, with the same correction, so that no document says more than
another.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ptycho_torch.config.arms import deep
from ptycho_torch.config.plan import stage_plan
from ptycho_torch.config.read import parse_study
from ptycho_torch.config.study import Study
from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.report.rendering import render, say, sentences
from ptycho_torch.report.runs_table import read_runs
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.markdown import percent
from ptycho_torch.statistics.compare import compare_failures, compare_score, with_seeds
from ptycho_torch.statistics.depth import fails_at_depth
from ptycho_torch.statistics.scores import Score, loss_score
from ptycho_torch.statistics.verdict import Evidence, loss_at_most

Condition = dict[str, Any]
"""`condition` (what is asked for), `state`, `sentence` (why), `seeds_needed` and `seeds`: how many
seeds per arm would decide it, as a number (null: decided, or unknown) and in words."""

_OF_BETTER = {None: "undecided", True: "met", False: "not met"}


def write_decision(
    *,
    stage_a: PathLike,
    pivot: PathLike,
    winner: PathLike,
    study: Mapping[str, Any],
    provenance: Mapping[str, Any],
    outputs: Mapping[str, PathLike],
) -> None:
    """Decide, and write `decision.json` (output `data`) and `decision.md` (`prose`).

    `stage_a` and `pivot` are their `runs.csv`, `winner` is Stage A's `winner.json`, `study` the
    configuration in force. Raises InputError if that is wrong or has no decision, or a table is
    not that of its stage.
    """
    parsed = parse_study(study, "study")
    if parsed.decision is None:
        raise InputError("study: there is no block 'decision', so nothing can be decided")
    shallow = read_runs(stage_a, stage_plan(parsed, "stage_a"))
    at_depth = read_runs(pivot, stage_plan(parsed, "pivot"))
    decision, won = decide(parsed, shallow, at_depth), io.read_json(winner)
    values = {"decision": decision, "study": parsed, "winner": won, "made": provenance}
    io.write_json(outputs["data"], {**decision, "winner_of_stage_a": won.get("winner")})
    io.write_text(outputs["prose"], render("decision.md.j2", **values))


def decide(study: Study, shallow: pd.DataFrame, at_depth: pd.DataFrame) -> dict[str, Any]:
    """Return the decision that the runs support, as `decision.json` has it.

    The rules are considered in the order Pivot, Gold, Silver, and the first that is met in full
    decides. Pivot comes first because a mitigation that is shown to fail at depth cannot be
    recommended, whatever it does in Stage A. If none is met, the study is undecided. `shallow`
    has a row per run of Stage A, `at_depth` one per run of the pivot.
    """
    stage_a, depth = (
        Evidence(
            runs=runs,
            stage=stage_plan(study, stage),
            loss=loss_score(runs["val_loss_name"].tolist()),
            settings=study.statistics,
        )
        for stage, runs in (("stage_a", shallow), ("pivot", at_depth))
    )
    rules = _rules(stage_a, depth, study)
    fired = next((rule for rule in rules if rule["state"] == "met"), None)
    because, would_change = (
        sentences("decision_words.md.j2", part=part, fired=fired, rules=rules)
        for part in ("because", "would_change")
    )
    return {
        "decision": fired["rule"] if fired else "undecided",
        "headline": say("headline", fired),
        "because": because,
        "would_change": would_change,
        "rules": rules,
    }


def _rules(stage_a: Evidence, depth: Evidence, study: Study) -> list[dict[str, Any]]:
    """Return the rules in the order in which they are considered, with state and conditions."""
    assert study.decision is not None and study.pivot is not None
    gold, silver = study.decision.gold, study.decision.silver
    rules = {
        "pivot": [_failing(study, depth, arm) for arm in study.pivot.cures],
        "gold": [
            _compared(stage_a, gold, "a lower loss", stage_a.loss),
            _compared(stage_a, gold, "fewer failures"),
            _compared(depth, deep(study, gold), "fewer failures at depth"),
            _failing(study, depth, gold, holding=True),
        ],
        "silver": [
            _compared(stage_a, silver, "fewer failures"),
            _loss_kept(stage_a, silver, study.decision.max_loss_increase),
        ],
    }
    return [
        {
            "rule": name,
            "follows": say("follows", name, study),
            "conditions": conditions,
            "state": _joint_state([item["state"] for item in conditions]),
        }
        for name, conditions in rules.items()
    ]


def _joint_state(states: list[str]) -> str:
    """Return met if every condition is; not met if one is refuted; else undecided."""
    if all(state == "met" for state in states):
        return "met"
    return "not met" if "not met" in states else "undecided"


def _condition(
    condition: str, state: str, sentence: str, needed: int | None = None, seeds: str = ""
) -> Condition:
    found = {"condition": condition, "state": state, "sentence": sentence}
    return {**found, "seeds_needed": needed, "seeds": seeds}


def _compared(evidence: Evidence, arm: str, asked: str, score: Score | None = None) -> Condition:
    """Judge a score, or the failure rate, beside the control's, in the family of the summary."""
    pairs, runs, settings = list(evidence.stage.pairs), evidence.runs, evidence.settings
    if score:
        tests = compare_score(runs, pairs, score, settings)
    else:
        tests = compare_failures(runs, pairs, settings)
    item = with_seeds(next(item for item in tests if item.arm == arm), runs, settings)
    return _condition(
        f"`{item.arm}` has {asked} than `{item.other}`",
        _OF_BETTER[item.better],
        say("why", item, settings),
        item.seeds.seeds if item.seeds else None,
        say("seeds", item, settings),
    )


def _failing(study: Study, evidence: Evidence, arm: str, holding: bool = False) -> Condition:
    """Judge whether an arm is shown to fail at depth; `holding`: is not, to be open is enough."""
    assert study.decision is not None and study.stage_b is not None
    acceptable, settings = study.decision.acceptable_failure_rate, study.stage_b
    found = fails_at_depth(
        deep(study, arm), arm, evidence, acceptable=acceptable, settings=settings
    )
    asked, state = f"`{arm}` fails at {settings.fno_blocks} blocks", _OF_BETTER[found.fails]
    if holding:
        asked = f"`{arm}` is not shown to fail at depth"
        state = "not met" if found.fails else "met"
    return _condition(asked, state, say("depth", found, study.statistics))


def _loss_kept(evidence: Evidence, arm: str, bound: float) -> Condition:
    control = evidence.stage.control
    found = loss_at_most(arm, control, evidence, bound)
    asked = f"the loss of `{arm}` is at most {percent(bound)} above that of `{control}`"
    return _condition(asked, found.status, say("bound", found, evidence.settings))
