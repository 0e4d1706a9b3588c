"""What Stage B and the pivot answer: does an arm survive depth?"""

from collections.abc import Sequence

from ptycho_torch.config.arms import deep
from ptycho_torch.report.summarise.findings import Answer, Findings
from ptycho_torch.report.wording import why
from ptycho_torch.runtime.markdown import listed, number, plain
from ptycho_torch.statistics.compare import FAILURE_RATE, Comparison
from ptycho_torch.statistics.depth import gradient_bound
from ptycho_torch.statistics.verdict import Verdict

_SHORT = {
    "no_failures": "no failure",
    "gradient_bounded": "gradient norm bounded",
    "loss_matches": "loss matches Stage A's",
    "ssim_matches": "SSIM matches Stage A's",
}


def stage_b_answer(findings: Findings) -> Answer:
    """Return whether Stage A's winner scales to depth, and how the control does beside it."""
    winner = findings.winner
    assert winner is not None
    mine = deep(findings.study, winner)
    control = deep(findings.study, findings.study.stage_a.control)
    sentences = [f"`{winner}` at depth: {_conditions(findings.verdicts[mine])}"]
    if winner == findings.study.stage_a.control:
        sentences.append("Stage A's winner is the control itself, so no other arm is beside it.")
    sentences += _against(findings, mine, control)
    return Answer(sentences=tuple(sentences), section=_gradient_section(findings))


def pivot_answer(findings: Findings) -> Answer:
    """Return how each cure does at depth, and the further arm beside them."""
    pivot = findings.study.pivot
    assert pivot is not None
    arms = [*pivot.cures, pivot.arm]
    sentences = [
        f"`{arm}`: {_conditions(findings.verdicts[name])}"
        for arm, name in ((arm, deep(findings.study, arm)) for arm in arms)
    ]
    further = deep(findings.study, pivot.arm)
    sentences += _against(findings, further, findings.stage.control)
    return Answer(sentences=tuple(sentences), section=_gradient_section(findings))


def _against(findings: Findings, arm: str, other: str) -> list[str]:
    """Return how an arm's failures and loss are beside another's, a sentence each."""
    return [
        _beside(item, why(item, findings.study.statistics))
        for item in (*findings.failure_tests, *findings.comparisons)
        if (item.arm, item.other) == (arm, other)
        and item.score in (FAILURE_RATE.column, findings.loss.column)
    ]


def _conditions(verdicts: Sequence[Verdict]) -> str:
    """Return the conditions by their state: "met in these runs: a and b; undecided: c"."""
    by_state: dict[str, list[str]] = {}
    for verdict in verdicts:
        by_state.setdefault(verdict.status, []).append(
            _SHORT.get(verdict.condition, verdict.condition)
        )
    if not by_state:
        return "nothing was asked"
    return "; ".join(f"{state}: {listed(names)}" for state, names in by_state.items()) + "."


def _beside(item: Comparison, why: str) -> str:
    if item.better is None:
        return f"Its {item.label} beside `{item.other}` is undecided: {why}."
    way = "better" if item.better else "worse"
    return f"Its {item.label} is {item.state} than that of `{item.other}` ({way}): {why}."


def _gradient_section(findings: Findings) -> str:
    """Return the figure of gradient norms with the bound of each deep arm."""
    settings = findings.study.stage_b
    assert settings is not None
    bounds = []
    for mine, shallow in findings.stage.depth:
        bound = gradient_bound(findings.runs, shallow, settings.gradient_factor)
        said = "none: no run has a gradient norm" if bound is None else number(bound)
        bounds.append(f"`{mine}` {said} (from `{shallow}`)")
    return (
        "## Gradient norm by epoch\n\n![Gradient norm by epoch](gradient_norms.png)\n\n99th "
        "percentile of the gradient norm over an epoch's steps, before clipping, a line per seed; "
        "deep arms solid, the shallow ones that they are held against dotted. The bound is "
        f"{plain(settings.gradient_factor)} times the largest 99th percentile over a shallow run: "
        f"{listed(bounds)}."
    )
