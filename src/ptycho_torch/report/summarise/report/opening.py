"""Title, question and the summary in a few sentences, all made from the data."""

import pandas as pd

from ptycho_torch.report.summarise.findings import Answer, Findings
from ptycho_torch.report.wording import why
from ptycho_torch.runtime.markdown import (
    listed,
    number,
    percent,
    plural,
    signed,
)
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.runs import failure_rate, score_spread
from ptycho_torch.statistics.scores import (
    COMPLETED,
    OUTCOMES,
)


def opening(findings: Findings) -> str:
    """Return title, question and, for the small study, the box that says what it is."""
    stage, seeds = findings.stage, findings.stage.seed_list
    text = (
        f"# {stage.title}: {findings.study.title}\n\n**Question.** {stage.question} "
        f"{plural(len(stage.arms), 'arm')} "
        f"({listed([f'`{arm}`' for arm in stage.arms])}) on the same data, dataset "
        f"`{stage.dataset}`, {plural(len(seeds), 'seed')} each; {_compared(findings)}."
    )
    if findings.study.protocol == "small":
        text += (
            "\n\n> [!IMPORTANT]\n> This is the **small** study, made to end in minutes: "
            f"{plural(len(seeds), 'seed')} per arm, "
            f"{plural(findings.study.training.epochs, 'epoch')}, patches of "
            f"{findings.study.datasets[stage.dataset].patch_px} px. It shows that the pipeline "
            "works; it is not the protocol. The full protocol:\n>\n> ```\n> snakemake "
            f"{findings.name}_summary --cores 4 --configfile config/full.yaml\n> ```"
        )
    return text


def _compared(findings: Findings) -> str:
    """Return what is compared with what."""
    pairs = findings.stage.pairs
    others = {other for _, other in pairs}
    if len(others) == 1:
        return f"every arm is compared with `{others.pop()}`"
    return f"compared: {listed([f'`{arm}` with `{other}`' for arm, other in pairs])}"


def in_short(findings: Findings, answer: Answer) -> str:
    """Return what is supported, what is not, and how runs failed, in a few sentences."""
    items = in_short_items(findings, answer)
    return "## In short\n\n" + "\n".join(f"- {item}" for item in items)


def in_short_items(findings: Findings, answer: Answer) -> list[str]:
    """Return the sentences of the summary's start: the stage's own, then what all stages say."""
    return [*answer_items(findings, answer), *_general_items(findings, answer)]


def answer_items(findings: Findings, answer: Answer) -> list[str]:
    """Return what the stage answers, in a few sentences: for the page of the whole study."""
    if answer.sentences:
        return [_count_sentence(findings), *answer.sentences]
    return [
        _count_sentence(findings),
        _supported_sentence(findings),
        _failure_sentence(findings),
        _sample_sentence(findings),
    ]


def _general_items(findings: Findings, answer: Answer) -> list[str]:
    if not answer.sentences:
        return _verdict_sentences(findings)
    return [
        _supported_sentence(findings),
        _failure_sentence(findings),
        _sample_sentence(findings),
        *_verdict_sentences(findings),
    ]


def _count_sentence(findings: Findings) -> str:
    outcomes = findings.runs["outcome"].value_counts()
    failed = [f"{outcomes[name]} `{name}`" for name in OUTCOMES[1:] if name in outcomes]
    good = int(outcomes.get(COMPLETED, 0))
    tail = f"; the others: {listed(failed)}" if failed else "; none failed"
    return f"{good} of {plural(len(findings.runs), 'run')} succeeded{tail}."


def _supported_sentence(findings: Findings) -> str:
    found = [item for item in findings.comparisons if item.better is not None]
    if found:
        words = [
            f"`{item.arm}` has {'a lower' if item.state == 'lower' else 'a higher'} {item.label} "
            f"than `{item.other}` ({'better' if item.better else 'worse'}; mean difference "
            f"{signed(item.estimate)}, {plural(item.n, 'pair')})"
            for item in found
        ]
        return f"Supported: {'; '.join(words)}. All other differences are undecided."
    if not findings.comparisons:
        return "There is no other arm to compare the control with."
    reason = _common_reason(findings)
    return f"No difference in the loss or a score is supported{reason}."


def _common_reason(findings: Findings) -> str:
    most = max(item.n for item in findings.comparisons)
    needed = estimates.pairs_needed(findings.confidence)
    if most >= needed:
        return ""
    if most == 0:
        return ": at no seed did both runs succeed"
    return (
        f": no arm has more than {plural(most, 'pair')} of successful runs, and below {needed} no "
        f"difference can reach {percent(findings.confidence)}"
    )


def _failure_sentence(findings: Findings) -> str:
    found = [item for item in findings.failure_tests if item.better is not None]
    if found:
        words = [
            f"`{item.arm}` fails {'less' if item.better else 'more'} often than `{item.other}` "
            f"({why(item, findings.study.statistics)})"
            for item in found
        ]
        return f"Failure rates, supported: {'; '.join(words)}."
    if not findings.runs["failed"].any():
        bounds = {
            percent(failure_rate(findings.runs, arm, findings.confidence).interval.high)
            for arm in findings.stage.arms
        }
        return (
            "No failure was seen. So few runs are compatible with failure rates of up to "
            f"{listed(sorted(bounds))} per arm ({percent(findings.confidence)} Wilson bound)."
        )
    return "Failure rates are not told apart: undecided for every comparison."


def _sample_sentence(findings: Findings) -> str:
    medians = {
        arm: score_spread(findings.runs, arm, findings.loss.column) for arm in findings.stage.arms
    }
    ranked = sorted((v.median, arm) for arm, v in medians.items() if v.median is not None)
    if not ranked:
        return "No run succeeded, so there is no loss to compare."
    value = ranked[0][0]
    best = [arm for median, arm in ranked if median == value]
    have = "has" if len(best) == 1 else "share"
    counts = listed([str(n) for n in sorted({medians[arm].n for arm in best})])
    return (
        f"In this sample {listed([f'`{arm}`' for arm in best])} {have} the lowest median "
        f"{findings.loss.label}, {number(value)} (n = {counts}). That describes these runs; what "
        "it supports is said above."
    )


def _verdict_sentences(findings: Findings) -> list[str]:
    verdicts = [v for group in findings.verdicts.values() for v in group]
    asked = [v for v in verdicts if v.condition not in ("negative_control", "comparison")]
    counts = pd.Series([v.status for v in asked], dtype=object).value_counts()
    words = [
        f"{counts.get(status, 0)} {status}"
        for status in ("met", "met in these runs", "not met", "undecided")
    ]
    if not asked:
        return []
    return [f"Of {plural(len(asked), 'condition')} set for the arms: {listed(words)}."]
