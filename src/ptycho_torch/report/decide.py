"""Which arm goes on to depth, and the study's decision, Gold, Silver, Pivot or Undecided, with what
each rule asks for; torch-free.

A condition that claims something is met or not met only where its test supports it. Claims of Stage
A and of the pivot are those of their own summaries; what follows a claim of the same arm (the
failure at depth, the loss that is kept) is tested at that claim's level, so that it adds no chance
of a false decision where nothing differs.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ptycho_torch.config.plan import StagePlan, level_of, stage_plan
from ptycho_torch.config.read import parse_study
from ptycho_torch.config.study import Study, derive
from ptycho_torch.files import io
from ptycho_torch.report.rendering import render, say, sentences
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.markdown import percent
from ptycho_torch.statistics.compare import claim_level, compare_failures, compare_losses, values_of
from ptycho_torch.statistics.estimates import Difference, failure_rate, sample_difference
from ptycho_torch.statistics.runs import COMPOSITE, LOSS
from ptycho_torch.statistics.verdict import fails_at_depth

_STRESSED = {"lower": "supports", "higher": "contradicts", "undecided": "open"}
Condition = dict[str, Any]
"""`condition` (asked for), `state`, `sentence` (why, with the test), `seeds` (how many
would decide it, in words)."""


def read_runs(path: io.PathLike, plan: StagePlan) -> pd.DataFrame:
    """Return a stage's table of runs, a row per arm and seed; `InputError` if it cannot be read, or
    holds other runs than the stage's."""
    runs = io.read_csv(path)
    expected = {(plan.dataset, arm, seed) for arm, seed in plan.runs_of(Counter(runs["arm"]))}
    for run in sorted(expected ^ set(zip(runs["dataset"], runs["arm"], runs["seed"], strict=True))):
        raise InputError(
            f"{path}: does not hold the runs of {plan.name}: {'/'.join(map(str, run))} is missing "
            "or of another study; make its summary again"
        )
    return runs


def write_winner(runs: io.PathLike, plan: Mapping[str, Any], output: io.PathLike) -> None:
    """Read Stage A's table of runs and write `winner.json`; raises as `read_runs`."""
    stage = StagePlan(**plan)
    io.write_json(output, find_winner(read_runs(runs, stage), stage.arms))


def find_winner(runs: pd.DataFrame, arms: Sequence[str]) -> dict[str, Any]:
    """Return the winner, and how it came to be it, from a row per run of Stage A.

    The lowest geometric mean of the composite loss wins, in which a failed run counts as having
    learned nothing; ties by name.
    """
    means = {arm: float(np.exp(values_of(runs, arm, COMPOSITE).mean())) for arm in arms}
    winner = min(arms, key=lambda arm: (means[arm], arm))
    return {"winner": winner, "mean_loss": means, "sentence": say("winner", means[winner])}


def write_decision(
    *,
    stage_a: io.PathLike,
    pivot: io.PathLike,
    winner: io.PathLike,
    study: Mapping[str, Any],
    provenance: Mapping[str, Any],
    outputs: Mapping[str, io.PathLike],
    stress: io.PathLike | None = None,
) -> None:
    """Decide, and write `decision.json` (output `data`) and `decision.md` (`prose`).

    `stage_a` and `pivot` are their `runs.csv`, `winner` is Stage A's `winner.json`, `study` the
    configuration in force, which has a block `decision`, `stress` the stress stage's
    `findings.json`. Raises InputError if one is wrong, or a table is not that of its stage.
    """
    parsed = parse_study(study, "study")
    shallow = read_runs(stage_a, stage_plan(parsed, "stage_a"))
    at_depth = read_runs(pivot, stage_plan(parsed, "pivot"))
    claims = io.read_json(stress)["claims"] if stress else []
    decision, won = decide(parsed, shallow, at_depth, claims), io.read_json(winner)
    values = {"decision": decision, "study": parsed, "winner": won, "made": provenance}
    io.write_json(outputs["data"], {**decision, "winner_of_stage_a": won["winner"]})
    io.write_text(outputs["prose"], render("decision.md.j2", **values))


def decide(
    study: Study,
    shallow: pd.DataFrame,
    at_depth: pd.DataFrame,
    stress: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the decision that the runs support, as `decision.json` has it.

    The first rule that is met in full decides, in the order Pivot, Gold, Silver: a mitigation that
    is shown to fail at depth cannot be recommended, whatever it does in Stage A. `shallow` has a
    row per run of Stage A, `at_depth` one per run of the pivot; `stress` has the claims of the
    stress stage, which decide no rule and stand beside them with a verdict of their own.
    """
    rules = _rules(study, shallow, at_depth)
    fired = next((rule for rule in rules if rule["state"] == "met"), None)
    return {
        "decision": fired["rule"] if fired else "undecided",
        "headline": say("headline", fired),
        "would_change": sentences("would_change.md.j2", fired=fired, rules=rules),
        "rules": rules,
        "stress": [
            {"arm": c["arm"], "verdict": _STRESSED[c["state"]], "sentence": c["sentence"]}
            for c in stress
        ],
    }


def _rules(study: Study, shallow: pd.DataFrame, at_depth: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rules in the order in which they are considered, with state and conditions."""
    assert study.decision is not None and study.pivot is not None
    gold, silver, further = study.decision.gold, study.decision.silver, study.pivot.arm
    control, cures, deep = study.stage_a.control, study.pivot.cures, derive(study).deep
    rules = {
        "pivot": [
            *(_failing(study, at_depth, cure) for cure in cures),
            *(_lower(study, "pivot", at_depth, deep[further], deep[cure]) for cure in cures),
            _failing(study, at_depth, further, holding=True),
        ],
        "gold": [
            _lower(study, "stage_a", shallow, gold, control),
            _no_more_failures(shallow, gold, control),
            _lower(study, "stage_a", at_depth, deep[gold], deep[control]),
            _no_more_failures(at_depth, deep[gold], deep[control]),
            _failing(study, at_depth, gold, holding=True),
        ],
        "silver": [
            _lower(study, "stage_a", shallow, silver, control),
            _fewer_failures(study, shallow, silver, control),
            _loss_kept(study, shallow, silver, control),
        ],
    }
    found = []
    for name, conditions in rules.items():
        states = {item["state"] for item in conditions}
        # One refuted condition refutes the rule.
        joint = "not met" if "not met" in states else "met" if states == {"met"} else "undecided"
        follows = say("follows", name, study)
        found.append({"rule": name, "follows": follows, "conditions": conditions, "state": joint})
    return found


def _condition(condition: str, state: str, sentence: str, seeds: str = "") -> Condition:
    return {"condition": condition, "state": state, "sentence": sentence, "seeds": seeds}


def _lower(study: Study, stage: str, runs: pd.DataFrame, arm: str, other: str) -> Condition:
    """Judge the composite loss of two arms.

    A pair of the stage's primary family is judged as its summary does; another, such as Gold's at
    depth, at the stage's level, behind a claim that has to be met as well.
    """
    plan, settings = stage_plan(study, stage), study.statistics
    pairs = list(plan.primary) if (arm, other) in plan.primary else [(arm, other)]
    item = compare_losses(runs, pairs, settings, claim_level(plan))[pairs.index((arm, other))]
    state = {"undecided": "undecided", "lower": "met", "higher": "not met"}[item.state]
    asked = f"`{arm}` has a lower composite loss than `{other}`"
    seeds = say("seeds", item, settings) if item.state == "undecided" else ""
    return _condition(asked, state, say("claim", item, settings), seeds)


def _no_more_failures(runs: pd.DataFrame, arm: str, other: str) -> Condition:
    """Compare failures in these runs; what further runs do, the composite loss answers for."""
    mine, theirs = (failure_rate(runs, name, 0.95) for name in (arm, other))
    asked = f"`{arm}` fails no more often than `{other}`, in these runs"
    state = "met" if mine.rate <= theirs.rate else "not met"
    return _condition(asked, state, say("counts", mine, theirs))


def _fewer_failures(study: Study, runs: pd.DataFrame, arm: str, other: str) -> Condition:
    """Test whether an arm fails less often, behind the claim of a lower composite loss."""
    level = claim_level(stage_plan(study, "stage_a"))
    item = compare_failures(runs, [(arm, other)], study.statistics)[0]
    sentence = say("tested", item, level)
    return _condition(f"`{arm}` fails less often than `{other}`", _shown(item, level), sentence)


def _loss_kept(study: Study, runs: pd.DataFrame, arm: str, other: str) -> Condition:
    """Test whether the loss of successful runs is at most a fraction above the other arm's."""
    assert study.decision is not None
    bound, level = study.decision.max_loss_increase, claim_level(stage_plan(study, "stage_a"))
    good = runs[~runs["failed"].astype(bool)]
    mine, theirs = (np.log(values_of(good, name, LOSS)) for name in (arm, other))
    found = sample_difference(mine - math.log1p(bound), theirs, study.statistics)
    asked = f"the loss of successful runs of `{arm}` is at most {percent(bound)} above `{other}`'s"
    return _condition(asked, _shown(found, level), say("kept", found, level))


def _shown(found: Difference, level: float | None) -> str:
    """Return whether a difference is shown to lie below zero."""
    if found.p is None or found.p > (level or 0.0):
        return "undecided"
    return "met" if (found.mean or 0) < 0 else "not met"


def _failing(study: Study, runs: pd.DataFrame, arm: str, holding: bool = False) -> Condition:
    """Judge whether an arm is shown to fail at depth; `holding`: is not, to be open is enough."""
    assert study.decision is not None and study.stage_b is not None and study.pivot is not None
    # The further arm has no shallow runs of its own: it is held against the shallow control.
    fails, found = fails_at_depth(
        runs,
        derive(study).deep[arm],
        study.stage_a.control if arm == study.pivot.arm else arm,
        acceptable=study.decision.acceptable_failure_rate,
        most_loss_increase=study.stage_b.max_loss_increase,
        level=level_of(study, "pivot") or 0.0,
        settings=study.statistics,
    )
    if holding:
        asked, state = f"`{arm}` is not shown to fail at depth", "not met" if fails else "met"
    else:
        asked = f"`{arm}` fails at {study.stage_b.fno_blocks} blocks"
        state = "met" if fails else "undecided"
    return _condition(asked, state, say("depth", found))
