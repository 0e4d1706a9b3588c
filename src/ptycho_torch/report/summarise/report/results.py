"""Results by arm, differences to the control, and the verdicts."""

from ptycho_torch.config.arms import arm_settings
from ptycho_torch.report.summarise.findings import Findings, why_missing
from ptycho_torch.report.summarise.tables import all_scores
from ptycho_torch.report.wording import because, bounds, conclusion, counts, seeds_short
from ptycho_torch.runtime.markdown import (
    folded,
    interval_text,
    number,
    p_text,
    percent,
    plain,
    signed,
    spread_text,
    table,
)
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.compare import Comparison
from ptycho_torch.statistics.runs import failure_rate, score_spread
from ptycho_torch.statistics.scores import (
    OUTCOMES,
    RECONSTRUCTION_SCORES,
    Score,
)
from ptycho_torch.statistics.verdict import Verdict


def results(findings: Findings) -> str:
    """Return the table per arm, with what a constant image and the truth score."""
    header = ("arm", "failures", "outcomes", *(score.label for score in findings.main_scores))
    rows = [_arm_row(findings, arm) for arm in findings.stage.arms]
    for block, label in (("constant", "*constant image*"), ("truth", "*noise-free truth*")):
        scores = [_baseline_text(findings, block, score) for score in RECONSTRUCTION_SCORES]
        rows.append([label, "no run", "no run", _loss_baseline(findings, block), *scores])
    if (conventional := findings.collected.conventional) is not None:
        scores = [_baseline_text(findings, conventional.name, s) for s in RECONSTRUCTION_SCORES]
        loss = _loss_baseline(findings, conventional.name)
        rows.append([conventional.label, "no run", conventional.outcome, loss, *scores])
    note = (
        f"Failures: k of n ({percent(findings.confidence)} Wilson interval). Scores: median "
        "[quartiles] (n) over successful runs only, of the weights with the best validation "
        "loss, on the test split. MAE losses are relative to the mean amplitude of their split: "
        "predicting nothing scores 1. Lower is better for loss and complex error, higher for SSIM."
    )
    if conventional is not None:
        note += (
            " The conventional row is one reconstruction of the test split by rPIE from all its "
            "frames together, without training; it is no arm, and nothing is decided by it. Its R "
            "factor is sum |A_pred - A_obs| / sum A_obs over the test frames."
        )
    more = folded("Every score (median of successful runs, n in brackets)", _every_score(findings))
    return f"## Results by arm\n\n{table(header, rows)}\n\n{note}\n\n{more}"


def _arm_row(findings: Findings, arm: str) -> list[str]:
    runs = findings.runs[findings.runs["arm"] == arm]
    failed = failure_rate(runs, arm, findings.confidence)
    seen = runs["outcome"].value_counts()
    outcomes = ", ".join(f"{name} {seen[name]}" for name in OUTCOMES if name in seen)
    scores = [
        spread_text(score_spread(runs, arm, score.column), why_missing(findings, arm, score))
        for score in findings.main_scores
    ]
    return [f"`{arm}`", f"{counts(failed)} ({bounds(failed.interval)})", outcomes, *scores]


def _baseline_text(findings: Findings, block: str, score: Score) -> str:
    value = findings.collected.baselines[block].get(score.name)
    if value is None:
        reasons = findings.collected.undefined_baselines
        made = findings.collected.conventional
        if made is not None and block == made.name:
            # As for a run's best weights, its reasons go by the score's name alone.
            reasons = {f"{block}.{name}": reason for name, reason in made.undefined.items()}
        reason = reasons.get(f"{block}.{score.name}", "it is not asked of an image")
        return f"not defined: {reason}"
    return number(value)


def _loss_baseline(findings: Findings, block: str) -> str:
    """Return what stands for a baseline in the losses: predicting nothing, and the noise alone."""
    if block == "constant":
        return "not defined: an image is no network (predicting nothing scores 1 in MAE)"
    if block != "truth":
        found = findings.collected.conventional
        return f"not defined: no network (R factor {number(found.r_factor if found else None)})"
    floor = findings.collected.dataset["splits"]["validation"].get("noise_floor")
    if floor is None:
        return "not defined: the noise of these data is unknown"
    return f"{number(floor)} (MAE of the noise alone)"


def _every_score(findings: Findings) -> str:
    arms = findings.stage.arms
    rows = []
    for score in all_scores(findings.loss):
        cells = []
        for arm in arms:
            spread = score_spread(findings.runs, arm, score.column)
            reason = why_missing(findings, arm, score)
            cells.append(
                f"{number(spread.median)} ({spread.n})" if spread.n else f"not defined: {reason}"
            )
        baselines = [
            _loss_baseline(findings, block)
            if score.column.endswith("_loss")
            else _baseline_text(findings, block, score)
            for block in findings.collected.baselines
        ]
        rows.append([score.label, *cells, *baselines])
    names = {"constant": "constant image", "truth": "noise-free truth", "conventional": "rPIE"}
    heads = [names[block] for block in findings.collected.baselines]
    return table(("score", *(f"`{arm}`" for arm in arms), *heads), rows)


def differences(findings: Findings) -> str:
    """Return the paired differences to the control, and the tests of the failure rates."""
    if not findings.comparisons:
        return "## Differences to the control\n\nThere is no other arm."
    settings = findings.study.statistics
    rows = [
        [
            *(_pair(item, findings), item.label, str(item.n), signed(item.estimate)),
            *(interval_text(item.interval), _bare_p(item.p), _bare_p(item.p_holm)),
            *(conclusion(item, settings), _seeds(item, findings)),
        ]
        for item in findings.comparisons
    ]
    failures = [
        [
            *(_pair(item, findings), signed(item.estimate), _bare_p(item.p), _bare_p(item.p_holm)),
            *(conclusion(item, settings), _seeds(item, findings)),
        ]
        for item in findings.failure_tests
    ]
    interval = f"{percent(findings.confidence)} interval"
    tests = ("p", "p (Holm)", "conclusion", "seeds that would decide it")
    paired = table(("arm", "score", "pairs", "mean difference", interval, *tests), rows)
    rates = table(("arm", "difference of the rates", *tests), failures)
    return (
        f"## Differences{_to_one(findings)}\n\n{_rule(findings)}\n\n{paired}\n\nFailure rates "
        "(Fisher's exact test, two-sided, corrected for the number of comparisons):\n\n"
        f"{rates}\n\n{_planning(findings)}"
    )


def _seeds(item: Comparison, findings: Findings) -> str:
    return seeds_short(item.seeds, findings.study.statistics) or "decided"


def _planning(findings: Findings) -> str:
    """Return how the numbers of seeds are worked out, and how rough they are."""
    settings = findings.study.statistics
    return (
        f"Seeds that would decide it: the least number that does so with {percent(settings.power)} "
        f"probability in {settings.power_simulations:,} simulated studies, by the same test at "
        "Holm's hardest step, if the seen mean and spread of the differences (taken as normal), "
        "or the seen failure rates, are the true ones. From a handful of runs this is rough: "
        "the true number may be several times smaller or larger. Differences count pairs in "
        "which both runs succeed, so arms that fail need more seeds. Where the seen failure rates "
        "are equal no number tells them apart; then a difference of "
        f"{percent(settings.worthwhile_failure_difference)} is assumed."
    )


def _pair(item: Comparison, findings: Findings) -> str:
    """Return the arm, and what it is compared with where that is not said above the table."""
    return f"`{item.arm}`" if _to_one(findings) else f"`{item.arm}` to `{item.other}`"


def _to_one(findings: Findings) -> str:
    others = {other for _, other in findings.stage.pairs}
    return f" to `{others.pop()}`" if len(others) == 1 else ""


def _rule(findings: Findings) -> str:
    """Return the rule by which a difference is supported."""
    settings = findings.study.statistics
    alpha, needed = (
        estimates.level(settings.confidence),
        estimates.pairs_needed(settings.confidence),
    )
    scores = len(findings.main_scores)
    return (
        "Arm minus what it is compared with at the same seed, where both runs succeeded. "
        f"Interval: bootstrap of the mean ({settings.bootstrap_resamples:,} resamples); of few "
        "pairs it is too narrow. p: exact two-sided sign-flip test, whose least value with n "
        "pairs is 2/2^n. A difference is supported only if the interval excludes 0 and p, after "
        f"Holm's correction for the number of comparisons, is at most {plain(alpha)}. Below "
        f"{needed} pairs nothing can be. The {scores} scores are not corrected for one "
        "another: where nothing differs, the chance of at least one false claim is up to "
        f"{percent(scores * alpha)}."
    )


def _bare_p(p: float | None) -> str:
    return "not defined" if p is None else p_text(p).removeprefix("p ").removeprefix("= ")


def verdicts(findings: Findings) -> str:
    """Return what each arm's hypothesis asks, and whether the seeds show it."""
    rows = [
        [
            f"`{arm}`",
            arm_settings(findings.study, arm).hypothesis,
            _condition(verdict, findings),
            f"**{verdict.status}**",
            because(verdict, findings.study.statistics),
        ]
        for arm, found in findings.verdicts.items()
        for verdict in found
    ]
    if not rows:
        return ""
    header = ("arm", "hypothesis", "condition", "verdict", "because")
    return (
        f"## Verdict by arm\n\n{table(header, rows)}\n\n*Met in these runs* describes the sample; "
        "it is no claim about further runs."
    )


_CONDITIONS = {
    "lowest_loss": "lowest loss of the stage",
    "no_failures": "no failure",
    "lowest_failure_rate": "no arm fails less often",
    "fewer_failures_than_control": "fails less often than the control",
    "negative_control": "negative control: fails",
    "comparison": "none",
    "gradient_bounded": "gradient norm bounded",
}


def _condition(verdict: Verdict, findings: Findings) -> str:
    if verdict.condition == "max_loss_increase":
        bound = arm_settings(findings.study, verdict.arm).success.max_loss_increase
        return f"loss at most {percent(bound or 0)} above the control's (paired ratio)"
    depth = findings.study.stage_b
    if depth is not None and verdict.condition == "loss_matches":
        return f"loss at most {percent(depth.max_loss_increase)} above its shallow self's"
    if depth is not None and verdict.condition == "ssim_matches":
        return f"amplitude SSIM at most {plain(depth.max_ssim_decrease)} below its shallow self's"
    return _CONDITIONS[verdict.condition]
