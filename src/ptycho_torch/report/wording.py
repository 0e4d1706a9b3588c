"""What statistics found, in words: one function for each kind of result."""

import math

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.runtime.markdown import (
    interval_text,
    listed,
    number,
    p_text,
    percent,
    plain,
    plural,
)
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.compare import Comparison, Reason
from ptycho_torch.statistics.depth import DepthFailure
from ptycho_torch.statistics.estimates import Difference, Interval
from ptycho_torch.statistics.power import SeedsNeeded
from ptycho_torch.statistics.runs import FailureRate
from ptycho_torch.statistics.trend import Similarity, Trend
from ptycho_torch.statistics.verdict import BoundCheck, GradientCheck, Ranking, Verdict


def counts(rate: FailureRate) -> str:
    """Return "1 of 5"."""
    return f"{rate.failures} of {rate.runs}"


def bounds(interval: Interval) -> str:
    """Return the interval of a rate: "4 % to 62 %"."""
    return f"{percent(interval.low)} to {percent(interval.high)}"


def why(item: Comparison, settings: StatisticsSettings) -> str:
    """Return why a comparison came out as it did, with its numbers."""
    if item.rates is not None:
        mine, theirs = item.rates
        seen = f"{counts(mine)} runs failed against {counts(theirs)}"
        if mine.failures == theirs.failures == 0:
            return f"{seen}: no failure to tell them by"
        return (
            f"{seen}; Fisher's exact {p_text(item.p_holm)} after Holm's correction (the least that "
            f"so many runs can give alone is {number(item.least_p, 2)})"
        )
    found = Difference(n=item.n, mean=item.estimate, interval=item.interval, p=item.p)
    where = f"the {percent(settings.confidence)} interval {interval_text(item.interval)}"
    if item.reason == "supported":
        return f"{where} excludes 0 and {p_text(item.p_holm)}, {plural(item.n, 'pair')}"
    if item.reason == "interval":
        return f"{where} includes 0"
    if item.reason == "holm":
        return (
            f"{p_text(item.p)} alone, {number(item.p_holm, 2)} after Holm's correction for "
            f"{item.family} comparisons"
        )
    return _missing(item.reason, found, settings)


def _missing(reason: Reason, found: Difference, settings: StatisticsSettings) -> str:
    """Return what a test of paired differences lacks."""
    alpha = plain(estimates.level(settings.confidence))
    if reason == "no_pairs":
        return "no seed at which both runs succeeded"
    if reason == "few_pairs":
        least = number(estimates.least_sign_flip_p(found.n), 2)
        return (
            f"{plural(found.n, 'pair')} cannot reach p <= {alpha} (the least is {least}); "
            f"{estimates.pairs_needed(settings.confidence)} pairs are the minimum"
        )
    return f"{p_text(found.p)} is more than {alpha}"


def conclusion(item: Comparison, settings: StatisticsSettings) -> str:
    """Return a comparison's conclusion for a table."""
    if item.better is None:
        return f"undecided: {why(item, settings)}"
    return f"supported: {item.state} ({'better' if item.better else 'worse'})"


def seeds_short(seeds: SeedsNeeded | None, settings: StatisticsSettings) -> str:
    """Return the number of seeds that would decide it, or why there is none; for a table."""
    if seeds is None:
        return ""
    if seeds.missing is not None:
        return f"no number: {_no_number(seeds)}"
    if seeds.assumed_rates is not None:
        return f"{_number_of(seeds, settings)} (for {_rates(seeds.assumed_rates)})"
    return _number_of(seeds, settings)


def seeds_sentence(seeds: SeedsNeeded | None, settings: StatisticsSettings) -> str:
    """Return the same with what it assumes; empty if decided."""
    if seeds is None or seeds.missing is not None:
        return seeds_short(seeds, settings)
    if seeds.assumed_rates is not None:
        under = (
            f"if the arm and the control had failure {_rates(seeds.assumed_rates)} (an assumption, "
            "since the seen rates are equal)"
        )
    elif len(seeds.sample) == 2:
        mine, theirs = seeds.sample
        under = f"if the seen rates are the true ones (rough, of {mine} and {theirs} runs)"
    else:
        under = (
            "if the seen difference and spread are the true ones (rough, of "
            f"{seeds.sample[0]} pairs)"
        )
    needed = _number_of(seeds, settings)
    return f"{needed} seeds would decide it at {percent(settings.power)} power, {under}"


def _number_of(seeds: SeedsNeeded, settings: StatisticsSettings) -> str:
    return f"more than {settings.most_seeds}" if seeds.seeds is None else str(seeds.seeds)


def _rates(rates: tuple[float, float]) -> str:
    return f"rates of {percent(rates[0])} and {percent(rates[1])}"


def _no_number(seeds: SeedsNeeded) -> str:
    if seeds.missing == "pairs":
        n = seeds.sample[0]
        return f"a spread needs 2 pairs, there {'is' if n == 1 else 'are'} {n}"
    if seeds.missing == "spread":
        return "the seen differences are all equal, so they have no spread"
    return "the seen mean difference is 0"


def because(verdict: Verdict, settings: StatisticsSettings) -> str:
    """Return why a verdict is what it is, with numbers and n."""
    basis = verdict.basis
    if isinstance(basis, FailureRate):
        return _about_failures(verdict, basis, settings)
    if isinstance(basis, BoundCheck):
        return about_bound(basis, settings, ratio=verdict.condition != "ssim_matches")
    if isinstance(basis, GradientCheck):
        return _about_gradient(basis, verdict.arm)
    if isinstance(basis, Comparison):
        return why(basis, settings)
    if isinstance(basis, Ranking):
        return _about_ranking(basis, verdict, settings)
    if verdict.condition == "comparison":
        return "no condition is set: the arm is there for comparison"
    return "it is the control itself"


def _about_failures(verdict: Verdict, rate: FailureRate, settings: StatisticsSettings) -> str:
    confidence, runs = percent(settings.confidence), plural(rate.runs, "run")
    seen = f"{rate.failures} of {runs}"
    if verdict.condition == "negative_control":
        tail = "" if rate.failures else "; where it does not fail, no arm can be shown to fail less"
        return f"it failed in {seen} ({confidence} interval {bounds(rate.interval)}){tail}"
    if rate.failures:
        return f"{seen} failed ({confidence} interval {bounds(rate.interval)})"
    return (
        f"no failure seen in {runs}; the {confidence} Wilson upper bound is "
        f"{percent(rate.interval.high)}, so whether it never fails is undecided"
    )


def about_bound(check: BoundCheck, settings: StatisticsSettings, *, ratio: bool) -> str:
    """Return how a ratio of losses, or a difference of scores, lies beside its bound."""
    found, limit = check.seen, f"the bound is {plain(check.bound)}"
    if found.mean is None:
        return f"no seed at which both runs succeeded; {limit}"
    pairs = plural(found.n, "pair")
    if ratio:
        interval = "no interval from one pair"
        if found.interval is not None:
            low, high = math.exp(found.interval.low), math.exp(found.interval.high)
            interval = f"{percent(settings.confidence)} interval {number(low)} to {number(high)}"
        seen = f"the loss is {number(math.exp(found.mean))} times that of {check.other}"
        seen = f"{seen} ({interval}, {pairs}); {limit}"
    else:
        seen = f"the amplitude SSIM differs by {found.mean:+.3f} from that of {check.other}"
        seen = f"{seen} ({pairs}); {limit}"
    if check.status != "undecided":
        return seen
    if check.reason == "interval":
        return f"{seen}; the interval includes the bound"
    return f"{seen}; {_missing(check.reason, check.excess, settings)}"


def _about_gradient(check: GradientCheck, arm: str) -> str:
    if check.bound is None:
        return f"no run of {check.shallow} has a gradient norm to take the bound from"
    limit = (
        f"the bound is {number(check.bound)}, {plain(check.factor)} times the largest 99th "
        f"percentile of a run of {check.shallow}"
    )
    if not check.epochs:
        return f"no epoch of {arm} ended; {limit}"
    largest = f"the largest 99th percentile of an epoch is {number(check.largest)}"
    if check.stopped:
        return f"{plural(check.stopped, 'run')} ended in NaN or explosion; {largest}; {limit}"
    if check.beyond:
        return (
            f"{plural(check.beyond, 'epoch')} of {check.epochs} in "
            f"{plural(check.runs_beyond, 'run')} lie beyond it; {largest}; {limit}"
        )
    return f"{largest} over {plural(check.epochs, 'epoch')}; {limit}"


def _about_ranking(ranking: Ranking, verdict: Verdict, settings: StatisticsSettings) -> str:
    tests = ranking.comparisons
    if not tests:
        return "there is no other arm"
    worse = listed([item.other for item in tests if item.better is False])
    others = listed([item.other for item in tests])
    undecided = [item for item in tests if item.better is None]
    if not ranking.medians:
        if worse:
            return f"{worse} failed less often, beyond chance"
        if not undecided:
            return f"it failed less often than {others}, beyond chance"
        fewer = [t.other for t in tests if t.rates and t.rates[1].rate < t.rates[0].rate]
        seen = f"{listed(fewer)} failed less often" if fewer else "no arm failed less often"
        assert tests[0].rates is not None
        mine = tests[0].rates[0]
        return (
            f"{mine.failures} of {plural(mine.runs, 'run')} failed, and {seen} in this sample; the "
            f"rates are not told apart from those of {listed([item.other for item in undecided])}"
        )
    mine_loss = ranking.medians[verdict.arm]
    if mine_loss.median is None:
        return "none of its runs succeeded, so it has no median loss"
    seen = f"its median is {number(mine_loss.median)} (n = {mine_loss.n})"
    if worse:
        return f"{seen}; {worse} reached a lower loss, beyond chance"
    if not undecided:
        return f"{seen}; lower than {others}, beyond chance"
    best, leader = min((v.median, k) for k, v in ranking.medians.items() if v.median is not None)
    place = "the lowest of this sample" if leader == verdict.arm else f"{leader} has {number(best)}"
    reasons = [why(item, settings) for item in undecided]
    groups = []
    for reason in dict.fromkeys(reasons):
        names = [i.other for i, text in zip(undecided, reasons, strict=True) if text == reason]
        groups.append(f"{listed(names)} ({reason})")
    return f"{seen}, {place}; not told apart from {'; '.join(groups)}"


def about_similarity(found: Similarity, settings: StatisticsSettings) -> str:
    """Return why an arm is called the same as the control, like it, or different."""
    if found.state == "same":
        return "seed by seed its runs have the very numbers of the control's"
    if found.state == "alike":
        different = found.different
        small = f", though told apart from it ({different[0].state})" if different else ""
        return f"its loss lies within {percent(found.margin)} of the control's{small}"
    if found.state == "differs":
        return "; ".join(f"{i.label} {i.state} ({why(i, settings)})" for i in found.different)
    assert found.loss is not None
    return about_bound(found.loss, settings, ratio=True)


def about_loss_trend(trend: Trend, values: int) -> str:
    """Return whether the loss rises or falls along so many values of a setting."""
    if trend.p is None:
        return (
            f"no test of a trend of the loss: {plural(values, 'value')}, {plural(trend.n, 'seed')} "
            "at which every run succeeded (3 and 2 are needed)"
        )
    way = "rises" if trend.rising else "falls"
    seen = (
        f"the loss {way} along the values" if trend.supported else "no trend of the loss is shown"
    )
    return f"{seen} (Page's test, two-sided {p_text(trend.p)}, {trend.n} seeds)"


def about_failure_trend(trend: Trend, failures: int) -> str:
    """Return whether failures become more or less frequent along a setting."""
    if trend.p is None:
        return f"{failures} of {plural(trend.n, 'run')} failed, so failures have no trend"
    way = "more" if trend.rising else "less"
    seen = (
        f"failures become {way} frequent"
        if trend.supported
        else ("no trend of the failures is shown")
    )
    return f"{seen} (permutation test, two-sided {p_text(trend.p)}, {trend.n} runs)"


def about_depth(found: DepthFailure, settings: StatisticsSettings) -> str:
    """Return why an arm is shown to fail at depth, or not."""
    if found.by_loss:
        return about_bound(found.loss, settings, ratio=True)
    rate = f"{found.rate.failures} of {plural(found.rate.runs, 'run')} failed at depth"
    limit = f"acceptable: {percent(found.acceptable)}"
    exact = f"exact binomial p = {number(found.p_above, 2)}"
    if found.fails:
        return f"{rate}, beyond chance ({limit}; {exact})"
    if found.fails is False:
        return f"{rate}, fewer than acceptable beyond chance ({limit})"
    return (
        f"{rate}; the rate is not told apart from the acceptable one ({limit}, {exact}). To show "
        f"that it is at most that takes {found.runs_needed} runs without a failure"
    )
