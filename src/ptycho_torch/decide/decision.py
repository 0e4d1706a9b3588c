"""The study's decision: Gold, Silver, Pivot or Undecided, with what it rests on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pandas as pd

from ptycho_torch import io
from ptycho_torch.config.base import InputError
from ptycho_torch.config.plan import stage_plan
from ptycho_torch.config.read import parse_study
from ptycho_torch.config.study import Study
from ptycho_torch.decide.rules import Rule, Runs, judge_rules
from ptycho_torch.io import PathLike
from ptycho_torch.markdown import listed, percent
from ptycho_torch.statistics.runs import read_runs

_ASSUMING = "if what was seen is true (rates seen equal: if they differ as the table below assumes)"

Outcome = Literal["gold", "silver", "pivot", "undecided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the study comes to."""

    decision: Outcome
    """Which rule fired."""

    headline: str
    """In one sentence."""

    because: tuple[str, ...]
    """On which numbers."""

    would_change: tuple[str, ...]
    """What would change it."""

    rules: tuple[Rule, ...]
    """Every rule with its conditions."""

    def as_json(self) -> dict[str, Any]:
        """Return `decision.json`."""
        data = asdict(self)
        for rule, item in zip(self.rules, data["rules"], strict=True):
            item["state"] = rule.state
        return data


def read_evidence(stage_a: PathLike, pivot: PathLike, study: Mapping[str, Any]) -> Runs:
    """Return the runs that the decision is taken from.

    Parameters
    ----------
    stage_a, pivot
        `runs.csv` of Stage A and of the pivot.
    study
        The configuration in force, as nested mappings.

    Raises
    ------
    InputError
        If the configuration is wrong or has no decision, or a table is not that of its stage.
    """
    parsed = parse_study(study, "study")
    if parsed.decision is None:
        raise InputError("study: there is no block 'decision', so nothing can be decided")
    return Runs(
        study=parsed,
        shallow=read_runs(stage_a, stage_plan(parsed, "stage_a")),
        at_depth=read_runs(pivot, stage_plan(parsed, "pivot")),
    )


def decide(study: Study, shallow: pd.DataFrame, at_depth: pd.DataFrame) -> Decision:
    """Return the decision that the runs support.

    The rules are asked in the order Pivot, Gold, Silver, and the first that is met in full fires.
    Pivot comes first because a cure that is shown to fail at depth cannot be recommended, whatever
    it does in Stage A. If none is met, the study is undecided.

    Parameters
    ----------
    study
        The study, with the blocks stage_b, pivot and decision.
    shallow, at_depth
        A row per run of Stage A and of the pivot.
    """
    rules = judge_rules(Runs(study=study, shallow=shallow, at_depth=at_depth))
    fired = next((rule for rule in rules if rule.state == "met"), None)
    if fired is None:
        return Decision(
            decision="undecided",
            headline="Undecided: no rule is met by what these seeds support",
            because=tuple(line for rule in rules for line in _open(rule)),
            would_change=_to_decide(rules, study.statistics.power),
            rules=rules,
        )
    outcome: dict[str, Outcome] = {"gold": "gold", "silver": "silver", "pivot": "pivot"}
    return Decision(
        decision=outcome[fired.rule],
        headline=f"{fired.rule.capitalize()}: {fired.follows}",
        because=tuple(f"{item.condition}: {item.sentence}" for item in fired.conditions),
        would_change=_to_overturn(fired, rules),
        rules=rules,
    )


def _open(rule: Rule) -> list[str]:
    """Return why a rule has not fired: what refutes it, else each condition that is open."""
    name = rule.rule.capitalize()
    refuted = [item for item in rule.conditions if item.state == "not met"]
    if refuted:
        return [
            f"{name} is refuted. Not so: {item.condition} ({item.sentence})" for item in refuted
        ]
    return [
        f"{name} is open. Undecided: {item.condition} ({item.sentence})"
        for item in rule.conditions
        if item.state == "undecided"
    ]


def _to_decide(rules: tuple[Rule, ...], power: float) -> tuple[str, ...]:
    """Return what would decide each rule that is open."""
    lines = []
    for rule in rules:
        if rule.state != "undecided":
            continue
        missing = [item for item in rule.conditions if item.state == "undecided"]
        known = [item.seeds_needed for item in missing if item.seeds_needed is not None]
        asked = listed([f"that {item.condition}" for item in missing])
        text = f"{rule.rule.capitalize()} follows once it is shown {asked}"
        what = "it" if len(missing) == 1 else "each of these"
        if len(known) == len(missing):
            text += (
                f"; about {max(known)} seeds per arm would show {what} in {percent(power)} of "
                f"studies, {_ASSUMING}"
            )
        elif known:
            text += (
                f"; at least {max(known)} seeds per arm, {_ASSUMING}, and for a part of it no "
                "number follows"
            )
        else:
            text += "; no number of seeds follows from what was seen"
        lines.append(text)
    return tuple(lines)


def _to_overturn(fired: Rule, rules: tuple[Rule, ...]) -> tuple[str, ...]:
    """Return what would take the decision back."""
    lines = [
        f"{fired.rule.capitalize()} falls if further seeds no longer support that "
        f"{listed([item.condition for item in fired.conditions])}"
    ]
    for rule in rules:
        if rule is fired:
            continue
        if rule.state == "met":
            lines.append(f"{rule.rule.capitalize()} is met as well: {rule.follows}")
        elif rule.state == "undecided" and rule.rule != "silver":
            missing = [item.condition for item in rule.conditions if item.state == "undecided"]
            asked = listed([f"that {condition}" for condition in missing])
            lines.append(f"{rule.rule.capitalize()} is open: it is not shown {asked}")
    return tuple(lines)


def write_decision(
    *,
    stage_a: PathLike,
    pivot: PathLike,
    winner: PathLike,
    study: Mapping[str, Any],
    provenance: Mapping[str, Any],
    outputs: Mapping[str, PathLike],
) -> None:
    """Decide, and write `decision.json` and `decision.md`.

    Parameters
    ----------
    stage_a, pivot
        `runs.csv` of Stage A and of the pivot.
    winner
        `winner.json` of Stage A.
    study
        The configuration in force, as nested mappings.
    provenance
        What `provenance.collect_provenance` returns.
    outputs
        Paths of `data` and `prose`.

    Raises
    ------
    InputError
        As `read_evidence`.
    """
    from ptycho_torch.decide.prose import decision_text

    runs = read_evidence(stage_a, pivot, study)
    found = decide(runs.study, runs.shallow, runs.at_depth)
    won = io.read_json(winner)
    io.write_json(outputs["data"], {**found.as_json(), "winner_of_stage_a": won.get("winner")})
    io.write_text(outputs["prose"], decision_text(found, runs, won, provenance))
