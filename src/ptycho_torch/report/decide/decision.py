"""The study's decision: Gold, Silver, Pivot or Undecided, with what it rests on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ptycho_torch.config.arms import deep
from ptycho_torch.config.plan import stage_plan
from ptycho_torch.config.read import parse_study
from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.report.decide.rules import Rule, RuleName, Runs, judge_rules
from ptycho_torch.report.rendering import render, sentences
from ptycho_torch.report.runs_table import read_runs
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.statistics.runs import failure_rate, score_spread
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM, loss_score


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the study comes to."""

    decision: RuleName | Literal["undecided"]
    """Which rule decides."""

    headline: str
    """In one sentence."""

    because: list[str]
    """On which numbers."""

    would_change: list[str]
    """What would change it."""

    rules: tuple[Rule, ...]
    """Every rule with its conditions."""


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
        If the configuration is wrong or has no decision, or a table is not that of its stage.
    """
    parsed = parse_study(study, "study")
    if parsed.decision is None:
        raise InputError("study: there is no block 'decision', so nothing can be decided")
    runs = Runs(
        study=parsed,
        shallow=read_runs(stage_a, stage_plan(parsed, "stage_a")),
        at_depth=read_runs(pivot, stage_plan(parsed, "pivot")),
    )
    found, won = decide(runs), io.read_json(winner)
    data = asdict(found)
    for rule, item in zip(found.rules, data["rules"], strict=True):
        item["state"] = rule.state
    text = render(
        "decision.md.j2",
        decision=found,
        study=parsed,
        winner=won,
        rows=_rows(runs),
        made=provenance,
        loss=loss_score(runs.shallow["val_loss_name"].tolist()),
    )
    io.write_json(outputs["data"], {**data, "winner_of_stage_a": won.get("winner")})
    io.write_text(outputs["prose"], text)


def decide(runs: Runs) -> Decision:
    """Return the decision that the runs support.

    The rules are considered in the order Pivot, Gold, Silver, and the first that is met in full
    decides. Pivot comes first because a mitigation that is shown to fail at depth cannot be
    recommended, whatever it does in Stage A. If none is met, the study is undecided.

    Parameters
    ----------
    runs
        A row per run of Stage A and of the pivot, and the study.
    """
    rules = judge_rules(runs)
    fired = next((rule for rule in rules if rule.state == "met"), None)
    because, would_change, (headline,) = (
        sentences("decision_words.md.j2", macro, fired, rules, runs.study.statistics)
        for macro in ("because", "would_change", "headline")
    )
    return Decision(
        decision=fired.rule if fired else "undecided",
        headline=headline,
        because=because,
        would_change=would_change,
        rules=rules,
    )


def _rows(runs: Runs) -> list[dict[str, Any]]:
    """Return the arms that the decision is about: Stage A's, then those at depth."""
    study = runs.study
    assert study.pivot is not None and study.stage_b is not None
    at_depth = dict.fromkeys([study.stage_a.control, *study.pivot.cures, study.pivot.arm])
    arms = [(runs.shallow, arm, "Stage A") for arm in study.stage_a.arms]
    blocks = f"{study.stage_b.fno_blocks} blocks"
    arms += [(runs.at_depth, deep(study, arm), blocks) for arm in at_depth]
    rows = []
    for table, arm, depth in arms:
        scores = (loss_score(table["val_loss_name"].tolist()), AMPLITUDE_SSIM)
        rows.append(
            {
                "arm": arm,
                "depth": depth,
                "failed": failure_rate(table, arm, study.statistics.confidence),
                "spreads": [score_spread(table, arm, score.column) for score in scores],
            }
        )
    return rows
