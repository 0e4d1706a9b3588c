"""A sweep's answer: does the result depend on the setting, and where do failures begin?"""

from collections.abc import Mapping

from ptycho_torch.config.plan import resolve, sweep_variants
from ptycho_torch.config.variants import Variant, value_text
from ptycho_torch.markdown import listed, number, percent, plain, plural, spread_text, table
from ptycho_torch.statistics import estimates, trend
from ptycho_torch.statistics.compare import failures_of, score_spread
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM
from ptycho_torch.statistics.verdict import Evidence
from ptycho_torch.summarise.findings import Answer, Findings, why_missing

States = Mapping[str, tuple[str, str]]
"""Arm -> whether it is told apart from the control, and why."""

# Losses within this fraction of the control's count as alike: what Silver allows, either way.
_MARGIN = 0.10


def varied(findings: Findings) -> list[tuple[Variant, str]]:
    """Return each variant of the sweep with the name under which its runs are kept."""
    study = findings.study
    return [(v, resolve(study, v)) for v in sweep_variants(study, findings.name)]


def sweep_answer(findings: Findings) -> Answer:
    """Return whether the results depend on the setting, with a table by value."""
    arms = list(dict.fromkeys(name for _, name in varied(findings)))
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
    states = {a: trend.likeness(a, control, tests, evidence, _margin(findings)) for a in others}
    sentences = [_dependence(findings, states)]
    ordered = ordered_arms(findings)
    if ordered:
        said = trend.loss_trend(ordered, evidence).sentence
        sentences += [f"{said[:1].upper()}{said[1:]}."]
    sentences += [_failures(findings, ordered or arms, trend_asked=bool(ordered))]
    return Answer(sentences=tuple(sentences), section=_section(findings, states))


def _margin(findings: Findings) -> float:
    decision = findings.study.decision
    return decision.max_loss_increase if decision is not None else _MARGIN


def _dependence(findings: Findings, states: States) -> str:
    control = f"`{findings.stage.control}`"
    named = {
        state: [_value(findings, arm) for arm, (found, _) in states.items() if found == state]
        for state in ("differs", "alike", "undecided", "same")
    }
    margin = percent(_margin(findings))
    about_clipping = any("clip" in key for v, _ in varied(findings) for key, _ in v.changes)
    if named["same"]:
        nothing = "nothing was ever clipped" if about_clipping else "the setting never took effect"
        return (
            f"At {listed(named['same'])} {nothing}: seed by seed, these runs have the very numbers "
            f"of {control}'s. {_rest(findings, states)}"
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


def _rest(findings: Findings, states: States) -> str:
    """Return what is to be said of the values at which the setting took effect."""
    left = {arm: found for arm, found in states.items() if found[0] != "same"}
    if not left:
        return "The results do not depend on it in this range."
    said = _dependence(findings, left)
    where = listed([_value(findings, arm) for arm in left])
    return f"At {where}: {said[:1].lower()}{said[1:]}"


def ordered_arms(findings: Findings) -> list[str]:
    """Return the arms by rising value; empty where values have no order: words, several keys."""
    found = varied(findings)
    values = [variant.changes[0][1] for variant, _ in found]
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    if len(found[0][0].changes) > 1 or not numbers:
        return []
    return [name for _, name in sorted(zip(values, [n for _, n in found], strict=True))]


def _failures(findings: Findings, arms: list[str], *, trend_asked: bool) -> str:
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
    failures, n = failures_of(runs, first)
    if not trend_asked:
        return (
            f"The first value with a failed run is {_value(findings, first)} ({failures} of {n}); "
            "the values have no order, so no trend is asked for."
        )
    rank = {arm: float(place) for place, arm in enumerate(arms)}
    found = trend.failure_trend(
        [rank[arm] for arm in runs["arm"]],
        runs["failed"].astype(bool).tolist(),
        confidence=findings.confidence,
    )
    return (
        f"In the order of the values, the first with a failed run is {_value(findings, first)} "
        f"({failures} of {n}); {found.sentence}."
    )


def _value(findings: Findings, arm: str) -> str:
    for variant, name in varied(findings):
        if name == arm:
            return variant.label()
    return f"`{arm}`"


def _section(findings: Findings, states: States) -> str:
    found = varied(findings)
    keys = [key for key, _ in found[0][0].changes]
    arms = [(variant, name) for variant, name in found]
    rows = [_row(findings, _values(v), name, states) for v, name in arms]
    control = findings.stage.control
    if control not in [name for _, name in arms]:
        rows.insert(0, _row(findings, ["not varied"] * len(keys), control, states))
    header = (
        *(f"`{key}`" for key in keys),
        *("arm", "failures", "failure rate", findings.loss.label, AMPLITUDE_SSIM.label),
        *("clipped share", "gradient norm, 99th percentile", f"beside `{control}`"),
    )
    why = [
        f"- {_value(findings, arm)}: {state}; {reason}" for arm, (state, reason) in states.items()
    ]
    return (
        f"## By value\n\n![By value](by_value.png)\n\n{table(header, rows)}\n\nScores: median "
        "[quartiles] (n) of successful runs. Clipped share and gradient norm (before clipping): "
        f"medians over all runs. *Alike*: the loss is shown to be within "
        f"{plain(100 * _margin(findings))} % of the control's, either way; *differs*: its loss or "
        "failure rate is told apart from the control's; *same*: its runs have the control's very "
        "numbers.\n\n" + "\n".join(why)
    )


def _values(variant: Variant) -> list[str]:
    return [value_text(value) for _, value in variant.changes]


def _row(findings: Findings, values: list[str], arm: str, states: States) -> list[str]:
    runs = findings.runs[findings.runs["arm"] == arm]
    failures, n = failures_of(runs, arm)
    bounds = estimates.wilson_interval(failures, n, findings.confidence)
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
        f"{failures} of {n}",
        f"{percent(bounds.low)} to {percent(bounds.high)}",
        *scores,
        percent(share),
        number(norm),
        states[arm][0] if arm in states else "itself",
    ]
