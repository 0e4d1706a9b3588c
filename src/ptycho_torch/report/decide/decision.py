"""The study's decision: Gold, Silver, Pivot or Undecided, with what it rests on."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import pandas as pd

from ptycho_torch.config.study import Study
from ptycho_torch.report.decide.rules import Rule, RuleName, Runs, judge_rules
from ptycho_torch.runtime.markdown import listed, percent

_ASSUMING = "if what was seen is true (rates seen equal: if they differ as the table below assumes)"

Outcome = RuleName | Literal["undecided"]


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
    return Decision(
        decision=fired.rule,
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
        elif rule.state == "undecided" and rule.rule != "silver":  # Silver yields to the others.
            missing = [item.condition for item in rule.conditions if item.state == "undecided"]
            asked = listed([f"that {condition}" for condition in missing])
            lines.append(f"{rule.rule.capitalize()} is open: it is not shown {asked}")
    return tuple(lines)
