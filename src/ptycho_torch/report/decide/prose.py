"""`decision.md`: the decision as a person reads it."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ptycho_torch.config.arms import deep
from ptycho_torch.report.decide.decision import Decision
from ptycho_torch.report.decide.rules import Rule, Runs
from ptycho_torch.report.wording import bounds, counts
from ptycho_torch.runtime.markdown import percent, plural, spread_text, table
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.runs import failure_rate, score_spread
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM, loss_score

_ASKED = {
    "pivot": "every cure is shown to fail at depth",
    "gold": "better, steadier, and steadier at depth than the control",
    "silver": "steadier than the control without a loss to speak of",
}


def decision_text(
    decision: Decision, runs: Runs, winner: Mapping[str, Any], provenance: Mapping[str, Any]
) -> str:
    """Return `decision.md`.

    Parameters
    ----------
    decision
        What was decided.
    runs
        What it was decided from.
    winner
        Contents of `winner.json`.
    provenance
        Commit, command and versions.
    """
    sections = [
        f"# {decision.headline}",
        _which_study(runs),
        "## On which numbers\n\n" + _bullets(decision.because),
        _numbers(runs, winner),
        "## What would change it\n\n" + _bullets(decision.would_change or ("nothing is open",)),
        "## The rules, one by one\n\n"
        "Asked in this order; the first that is met in full decides. A condition is met only "
        "where its test supports it at the study's level, and undecided where the seeds do not "
        "tell.\n\n" + "\n\n".join(_rule(rule) for rule in decision.rules),
        _made(runs, provenance),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _bullets(lines: tuple[str, ...]) -> str:
    return "\n".join(f"- {line[:1].upper()}{line[1:]}." for line in lines)


def _which_study(runs: Runs) -> str:
    study = runs.study
    seeds = len(study.stage_a.seed_list)
    text = f"*{study.title}*, {plural(seeds, 'seed')} per arm."
    if study.protocol == "small":
        text += (
            " This is the **small** study, made to end in minutes: it shows that the pipeline "
            "works, and its decision is no statement about the networks."
        )
    return text


def _numbers(runs: Runs, winner: Mapping[str, Any]) -> str:
    study = runs.study
    assert study.pivot is not None and study.stage_b is not None
    names = [*study.stage_a.arms]
    rows = [_row(runs.shallow, runs, arm, "Stage A") for arm in names]
    where = f"{study.stage_b.fno_blocks} blocks"
    for arm in dict.fromkeys([study.stage_a.control, *study.pivot.cures, study.pivot.arm]):
        name = deep(study, arm)
        rows.append(_row(runs.at_depth, runs, name, where))
    loss = loss_score(runs.shallow["val_loss_name"].tolist())
    header = ("arm", "depth", "failures", "failure rate", loss.label, AMPLITUDE_SSIM.label)
    return (
        f"{table(header, rows)}\n\nFailures: k of n with the "
        f"{percent(study.statistics.confidence)} Wilson interval of the rate. Scores: median "
        "[quartiles] (n) of successful runs. Stage A's winner, which Stage B takes to depth: "
        f"`{winner.get('winner')}` ({winner.get('sentence', 'no reason recorded')})."
    )


def _row(table_of_runs: pd.DataFrame, runs: Runs, arm: str, depth: str) -> list[str]:
    failed = failure_rate(table_of_runs, arm, runs.study.statistics.confidence)
    loss = loss_score(table_of_runs["val_loss_name"].tolist())
    scores = [
        spread_text(score_spread(table_of_runs, arm, score.column), "no successful run has it")
        for score in (loss, AMPLITUDE_SSIM)
    ]
    return [f"`{arm}`", depth, counts(failed), bounds(failed.interval), *scores]


def _rule(rule: Rule) -> str:
    rows = [
        [
            item.condition,
            f"**{item.state}**",
            item.sentence,
            item.seeds,
        ]
        for item in rule.conditions
    ]
    header = ("condition", "state", "because", "seeds that would decide it")
    return (
        f"### {rule.rule.capitalize()}: {rule.state}\n\nAsks: {_ASKED[rule.rule]}. Then "
        f"{rule.follows}.\n\n{table(header, rows)}"
    )


def _made(runs: Runs, provenance: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{k} {v}" for k, v in provenance.get("versions", {}).items())
    study = runs.study
    assert study.decision is not None
    return (
        "## How it was made\n\n"
        f"`{provenance.get('command')}`, commit {provenance.get('commit')}, "
        f"{provenance.get('platform')}; {versions}. Level of every test "
        f"{estimates.level(study.statistics.confidence):g}; acceptable failure rate at depth "
        f"{percent(study.decision.acceptable_failure_rate)}; numbers of seeds for "
        f"{percent(study.statistics.power)} power. Rules: docs/study.md."
    )
