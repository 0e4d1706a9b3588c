"""Time to quality: the conventional reconstruction beside the networks."""

import math

from ptycho_torch.report.summarise.conventional import Conventional
from ptycho_torch.report.summarise.findings import Findings, why_missing
from ptycho_torch.runtime.markdown import listed, number, spread_text, table
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.runs import score_spread
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM, COMPLEX_ERROR


def time_to_quality(findings: Findings) -> str:
    """Return what each arm and each scored iteration of rPIE cost and score; of Stage A alone."""
    conventional = findings.collected.conventional
    if conventional is None or findings.name != "stage_a":
        return ""
    rows = [_arm_row(findings, arm) for arm in findings.stage.arms]
    for scored in conventional.scored:
        rows.append(
            [
                f"rPIE, iteration {scored['iteration']}",
                "none",
                number(scored["seconds"]),
                number(scored[AMPLITUDE_SSIM.name]),
                number(scored[COMPLEX_ERROR.name]),
            ]
        )
    header = (
        "what",
        "training, s",
        "reconstruction of the test split, s",
        AMPLITUDE_SSIM.label,
        COMPLEX_ERROR.label,
    )
    return (
        "## Time to quality\n\n"
        f"![Time to quality](time_to_quality.png)\n\n{table(header, rows)}\n\n"
        f"{_crossing(findings, conventional)} {_conditions(findings, conventional)} "
        "([SVG](time_to_quality.svg))"
    )


def _arm_row(findings: Findings, arm: str) -> list[str]:
    runs = findings.runs[findings.runs["arm"] == arm]
    times = [
        number(estimates.spread(runs[column].astype(float).tolist()).median)
        for column in ("wall_s", "inference_s")
    ]
    scores = [
        spread_text(score_spread(runs, arm, score.column), why_missing(findings, arm, score))
        for score in (AMPLITUDE_SSIM, COMPLEX_ERROR)
    ]
    return [f"`{arm}`", *times, *scores]


def _crossing(findings: Findings, conventional: Conventional) -> str:
    """Return when rPIE passes the best arm's median amplitude SSIM."""
    medians = {
        arm: score_spread(findings.runs, arm, AMPLITUDE_SSIM.column).median
        for arm in findings.stage.arms
    }
    known = {arm: value for arm, value in medians.items() if value is not None}
    known = {arm: value for arm, value in known.items() if not math.isnan(value)}
    if not known:
        return "No arm has a successful run to compare rPIE with."
    best = max(known, key=lambda arm: known[arm])
    for scored in conventional.scored:
        ssim = scored[AMPLITUDE_SSIM.name]
        if ssim is not None and ssim >= known[best]:
            return (
                f"rPIE reaches the highest median amplitude SSIM of the arms (`{best}`, "
                f"{number(known[best])}) after iteration {scored['iteration']}, in "
                f"{number(scored['seconds'])} s."
            )
    return (
        f"In {conventional.iterations} iterations rPIE does not reach the highest median amplitude "
        f"SSIM of the arms (`{best}`, {number(known[best])})."
    )


def _conditions(findings: Findings, conventional: Conventional) -> str:
    devices = listed(sorted(findings.runs["device"].astype(str).unique()))
    threads = listed([str(n) for n in sorted(findings.runs["threads"].unique())])
    return (
        "rPIE starts anew for every scan; a network is trained once, sees each pattern by itself "
        "and then costs the time of inference alone. Times are wall times: medians over runs for "
        f"the networks (device {devices}, threads {threads}; the second of two predictions), one "
        f"reconstruction for rPIE (device {conventional.device}, threads {conventional.threads}; "
        "the iterations alone, without reading and writing). Other work on the machine shows."
    )
