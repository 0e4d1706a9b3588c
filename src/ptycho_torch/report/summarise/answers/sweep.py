"""A sweep's answer: does the result depend on the setting, and where do failures begin?"""

from collections.abc import Mapping
from dataclasses import dataclass

from ptycho_torch.config.arms import varied_arms
from ptycho_torch.config.study import value_text
from ptycho_torch.config.variants import Variant, numbers_of
from ptycho_torch.report.summarise.findings import Answer, Findings, why_missing
from ptycho_torch.report.wording import (
    about_failure_trend,
    about_loss_trend,
    about_similarity,
    bounds,
    counts,
)
from ptycho_torch.runtime.markdown import listed, number, percent, plural, spread_text, table
from ptycho_torch.statistics import estimates, trend
from ptycho_torch.statistics.runs import failure_rate, score_spread
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM
from ptycho_torch.statistics.verdict import Evidence

States = Mapping[str, tuple[str, str]]
"""Arm -> whether it is told apart from the control, and why."""


def sweep_answer(findings: Findings) -> Answer:
    """Return whether the results depend on the setting, with a table by value."""
    found = varied_arms(findings.study, findings.name)
    sweep = _Sweep(
        findings=findings,
        variants={arm: variant for variant, arm in found},
        margin=findings.study.sweeps[findings.name].alike_within,
        has_order=bool(numbers_of([variant for variant, _ in found])),
    )
    arms = list(sweep.variants)
    others = [arm for arm in arms if arm != findings.stage.control]
    evidence = Evidence(
        runs=findings.runs,
        stage=findings.stage,
        loss=findings.loss,
        settings=findings.study.statistics,
    )
    tests = [item for item in findings.comparisons if item.score == findings.loss.column]
    tests += findings.failure_tests
    control = findings.stage.control
    found_at = {a: trend.similarity(a, control, tests, evidence, sweep.margin) for a in others}
    states = {
        arm: (one.state, about_similarity(one, evidence.settings)) for arm, one in found_at.items()
    }
    sentences = [_dependence(sweep, states)]
    if sweep.has_order:
        said = about_loss_trend(trend.loss_trend(arms, evidence), len(arms))
        sentences += [f"{said[:1].upper()}{said[1:]}."]
    sentences += [_failures(sweep)]
    return Answer(sentences=tuple(sentences), section=_section(sweep, states))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sweep:
    """What the sentences and the table of a sweep are made from."""

    findings: Findings
    """The stage, worked out."""

    variants: Mapping[str, Variant]
    """Arm -> what it varies, by rising value where values are numbers."""

    margin: float
    """Losses within this fraction of the control's are alike."""

    has_order: bool
    """Whether values are numbers of one key, so that a trend can be asked for."""

    @property
    def about_clipping(self) -> bool:
        """Whether a clipping setting is varied."""
        keys = [key for variant in self.variants.values() for key, _ in variant.changes]
        return any(key.startswith("execution.clip.") for key in keys)


def _dependence(sweep: _Sweep, states: States) -> str:
    findings = sweep.findings
    control = f"`{findings.stage.control}`"
    named = {
        state: [sweep.variants[arm].label() for arm, (found, _) in states.items() if found == state]
        for state in ("differs", "alike", "undecided", "same")
    }
    margin, about_clipping = percent(sweep.margin), sweep.about_clipping
    if named["same"]:
        nothing = "nothing was ever clipped" if about_clipping else "the setting never took effect"
        return (
            f"At {listed(named['same'])} {nothing}: seed by seed, these runs have the very numbers "
            f"of {control}'s. {_rest(sweep, states)}"
        )
    if named["differs"]:
        start = "Yes" if len(named["differs"]) < len(states) else "Everywhere"
        text = f"{start}: at {listed(named['differs'])} the results differ from {control}'s"
        if named["alike"]:
            text += f", at {listed(named['alike'])} the loss is shown to be within {margin}"
        if named["undecided"]:
            text += f"; at {listed(named['undecided'])} it is undecided"
        if about_clipping and start == "Yes":
            text += ". What Stage A says of clipping holds for its own threshold only"
        return f"{text}."
    if not named["undecided"] and named["alike"]:
        tail = "; Stage A's conclusions are no artefact of the threshold" if about_clipping else ""
        return f"No: at every value the loss is shown to be within {margin} of {control}'s{tail}."
    tail = (
        " Whether Stage A's conclusions are an artefact of clipping is therefore open."
        if about_clipping
        else ""
    )
    alike = f" Shown to be alike: {listed(named['alike'])}." if named["alike"] else ""
    return (
        f"Undecided: with {plural(len(findings.stage.seed_list), 'seed')} no value is told apart "
        f"from {control}, and {len(named['undecided'])} of {len(states)} are not shown to be "
        f"within {margin} of it either.{alike}{tail}"
    )


def _rest(sweep: _Sweep, states: States) -> str:
    """Return what is to be said of the values at which the setting took effect."""
    left = {arm: found for arm, found in states.items() if found[0] != "same"}
    if not left:
        return "The results do not depend on it in this range."
    said = _dependence(sweep, left)
    where = listed([sweep.variants[arm].label() for arm in left])
    return f"At {where}: {said[:1].lower()}{said[1:]}"


def _failures(sweep: _Sweep) -> str:
    findings, arms = sweep.findings, list(sweep.variants)
    runs = findings.runs[findings.runs["arm"].isin(arms)]
    first = trend.first_failing(arms, runs)
    if first is None:
        bound = estimates.wilson_interval(
            0, len(findings.stage.seed_list), findings.confidence
        ).high
        return (
            f"No run failed at any value ({len(runs)} runs; at one value up to {percent(bound)} of "
            "many runs may still fail)."
        )
    rate = failure_rate(runs, first, findings.confidence)
    begins = f"{sweep.variants[first].label()} ({counts(rate)})"
    if not sweep.has_order:
        return (
            f"The first value with a failed run is {begins}; the values have no order, so no trend "
            "is asked for."
        )
    rank = {arm: float(place) for place, arm in enumerate(arms)}
    found = trend.failure_trend(
        [rank[arm] for arm in runs["arm"]],
        runs["failed"].astype(bool).tolist(),
        confidence=findings.confidence,
    )
    failures = about_failure_trend(found, int(runs["failed"].sum()))
    return f"In the order of the values, the first with a failed run is {begins}; {failures}."


def _section(sweep: _Sweep, states: States) -> str:
    findings, variants = sweep.findings, sweep.variants
    keys = [key for key, _ in next(iter(variants.values())).changes]
    rows = [_row(findings, _values(variant), arm, states) for arm, variant in variants.items()]
    control = findings.stage.control
    if control not in variants:
        rows.insert(0, _row(findings, ["not varied"] * len(keys), control, states))
    header = (
        *(f"`{key}`" for key in keys),
        *("arm", "failures", "failure rate", findings.loss.label, AMPLITUDE_SSIM.label),
        *("clipped share", "gradient norm, 99th percentile", f"beside `{control}`"),
    )
    why = [
        f"- {variants[arm].label()}: {state}; {reason}" for arm, (state, reason) in states.items()
    ]
    return (
        f"## By value\n\n![By value](by_value.png)\n\n{table(header, rows)}\n\nScores: median "
        "[quartiles] (n) of successful runs. Clipped share and gradient norm (before clipping): "
        f"medians over all runs. *Alike*: the loss is shown to be within "
        f"{percent(sweep.margin)} of the control's, either way; *differs*: its loss or "
        "failure rate is told apart from the control's; *same*: its runs have the control's very "
        "numbers.\n\n" + "\n".join(why)
    )


def _values(variant: Variant) -> list[str]:
    return [value_text(value) for _, value in variant.changes]


def _row(findings: Findings, values: list[str], arm: str, states: States) -> list[str]:
    runs = findings.runs[findings.runs["arm"] == arm]
    failed = failure_rate(runs, arm, findings.confidence)
    scores = [
        spread_text(score_spread(runs, arm, score.column), why_missing(findings, arm, score))
        for score in (findings.loss, AMPLITUDE_SSIM)
    ]
    share, norm = (
        estimates.spread(runs[column].astype(float).tolist()).median
        for column in ("clipped_share", "grad_norm_p99")
    )
    return [
        *values,
        f"`{arm}`",
        counts(failed),
        bounds(failed.interval),
        *scores,
        percent(share),
        number(norm),
        states[arm][0] if arm in states else "itself",
    ]
