"""`decision.md` of the diagnoses: what was found, as a person reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ptycho_torch.config.study import Study
from ptycho_torch.diagnose.drift import Drift, growth_words
from ptycho_torch.diagnose.evidence import Group, Side, interval_words
from ptycho_torch.diagnose.gate import Hypothesis, next_step
from ptycho_torch.runtime.markdown import folded, number, p_text, percent, table

_SIDES = {"below": "below", "above": "above", "undecided": "undecided"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Medians over seeds of one fresh network with one distribution of spectral weights."""

    name: str
    """The network."""

    initialisation: str
    """`1/in` or `1/(in*out)`."""

    gradient_ratio: float | None
    """Spectral over local mean gradient modulus."""

    output_ratio: float | None
    """Spectral over local mean output modulus, median over blocks."""

    growth: float | None
    """Growth factor a block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All that is said."""

    study: Study
    """The study."""

    hypotheses: tuple[Hypothesis, ...]
    """In their order."""

    drift: Drift
    """Growth of the mean activation."""

    before_after: tuple[Comparison, ...]
    """Spectral initialisation before and after its variance was kept."""

    units: tuple[Mapping[str, Any], ...]
    """`loss_units.json` of each dataset."""

    inputs: Mapping[str, Mapping[str, Any]]
    """Dataset -> input transform -> statistics of what enters a network."""

    failed: tuple[Mapping[str, Any], ...]
    """Failed runs: `network`, `unusable`, and numbers of their last weights where they have any."""

    runs: int
    """Trained runs that were diagnosed."""

    provenance: Mapping[str, Any]
    """Commit, command and versions."""


def decision_text(found: Findings) -> str:
    """Return `decision.md`."""
    sections = [
        "# What the diagnoses say",
        _opening(found),
        _hypotheses(found),
        "## Spectral and local gradients\n\n" + _gradients(found),
        "## Before and after: spectral weights of variance 1/in\n\n" + _before_after(found),
        "## Loss units\n\n" + _units(found),
        "## Dynamic range\n\n" + _range(found),
        "## Drift: mean activation against depth\n\n" + _drift(found),
        _failed(found),
        "## How it was made\n\n" + _made(found),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _opening(found: Findings) -> str:
    settings = found.study.diagnostics
    text = (
        f"*{found.study.title}*: fresh networks at {len(settings.seed_list)} weight seeds, "
        f"{found.runs} trained runs; every network sees the same {settings.groups} groups of the "
        "training split. Definitions: docs/diagnostics.md."
    )
    if found.study.protocol == "small":
        text += (
            " This is the **small** study: its runs are too short and too few to say anything of "
            "trained networks in general."
        )
    return f"**Next: {next_step(found.hypotheses)}.**\n\n{text}"


def _hypotheses(found: Findings) -> str:
    rows = [
        [f"{place}. {item.name}", item.claim, f"**{item.verdict}**", item.because, item.follows]
        for place, item in enumerate(found.hypotheses, start=1)
    ]
    header = ("hypothesis", "claim", "verdict", "evidence", "what follows")
    text = "## The three hypotheses, in the order of their cures\n\n" + table(header, rows)
    for item in found.hypotheses:
        if item.block is not None:
            text += (
                f"\n\nFor *{item.name}*, a block for the study (`snakemake "
                f"{item.block.split(':')[1].strip()}_summary`):\n\n```yaml\n{item.block}\n```"
            )
    return text


def _groups(groups: Sequence[Group], what: str, side: Side, threshold: float) -> str:
    parts = []
    for state, title in (("fresh", "Fresh networks"), ("best", "Trained runs, best weights")):
        some = [group for group in groups if group.state == state]
        rows = [
            [
                f"`{group.name}`",
                interval_words(group),
                f"{group.beyond(threshold, side)} of {len(group.values)}",
                p_text(group.p),
                _SIDES[group.side] if group.values else "-",
            ]
            for group in some
        ]
        header = ("network", what, f"{side} {threshold:g}", "p (Holm)", "shown to be")
        if rows:
            text = table(header, rows)
            parts.append(folded(title, text) if len(rows) > 8 else f"{title}:\n\n{text}")
    return "\n\n".join(parts)


_MEANS = "Geometric mean over seeds with its bootstrap interval; a side is shown where the exact \
sign-flip test, corrected for all networks of the table, and the interval agree."


def _gradients(found: Findings) -> str:
    threshold = found.study.diagnostics.min_gradient_ratio
    return "\n\n".join(
        [
            "![spectral over local gradients by epoch](gradient_ratio.png)",
            _groups(
                found.hypotheses[0].groups,
                "spectral / local mean gradient modulus",
                "below",
                threshold,
            ),
            f"{_MEANS} A ratio that is not defined: the blocks of a fresh `stable_hybrid` pass no "
            "gradient on, since their norm starts at zero. For white noise the ratio is about 2/N "
            "in a block of N px, by the Fourier transform's normalisation alone: a small ratio is "
            "no fault in itself, and Adam's step hardly depends on the size of a gradient.",
        ]
    )


def _before_after(found: Findings) -> str:
    header = (
        "network", "spectral weights", "spectral / local gradients", "spectral / local output",
        "growth per block",
    )  # fmt: skip
    rows = [
        [
            f"`{item.name}`",
            item.initialisation,
            *(number(value) for value in (item.gradient_ratio, item.output_ratio, item.growth)),
        ]
        for item in found.before_after
    ]
    return (
        f"{table(header, rows)}\n\nMedians over the weight seeds, at step 0. `1/(in*out)`: both "
        "parts uniform in [0, 1) over in*out, as in the published code; `1/in`: mean squared "
        "modulus 1/in, in force. The scale of its initial weights decides what the spectral path "
        "puts out beside the local one; the gradient of a weight does not depend on the weight's "
        "own size, but only by way of the activations that it changes."
    )


def _units(found: Findings) -> str:
    rows = [
        [
            report["dataset"] if check in report["dataset_checks"] else "any",
            check["check"],
            check["expected"],
            check["found"],
            "passed" if check["passed"] else "**failed**",
        ]
        for place, report in enumerate(found.units)
        for check in (*(report["losses"] if place == 0 else ()), *report["dataset_checks"])
    ]
    return table(("dataset", "check", "expected", "found", "result"), rows)


def _range(found: Findings) -> str:
    settings = found.study.diagnostics
    rows = [
        [
            dataset,
            f"`{transform}`",
            number(item["p99_over_p50"]),
            _share(item["dc_share"]),
            _share(item["low_frequency_share"]),
        ]
        for dataset, transforms in found.inputs.items()
        for transform, item in transforms.items()
    ]
    header = ("dataset", "input transform", "p99 / p50", "DC share", "low-frequency share")
    return "\n\n".join(
        [
            _groups(
                found.hypotheses[2].groups,
                "DC share, median over blocks' inputs",
                "above",
                settings.max_dc_share,
            ),
            f"What enters a network on this data (flagged above {settings.max_p99_over_p50:g} in "
            f"p99 / p50):\n\n{table(header, rows)}",
        ]
    )


def _share(value: float | None) -> str:
    """Return a share as a percentage; what rounding leaves of a zero is zero."""
    return "0 %" if value is not None and value < 1e-9 else percent(value)


def _drift(found: Findings) -> str:
    drift = found.drift
    rows = [
        [
            f"`{group.name}`",
            {"fresh": "fresh", "best": "trained"}[group.state],
            interval_words(group),
            p_text(group.p),
            growth_words(group),
        ]
        for group in (*drift.fresh, *drift.trained)
    ]
    header = ("network", "state", "growth factor a block", "p (Holm)", "shown")
    bullets = "\n".join(f"- {sentence}." for sentence in drift.sentences)
    return (
        "![mean activation against depth](activation_depth.png)\n\n"
        "Hypothesis: the mean activation grows from block to block in `hybrid`, and does not in "
        f"`stable_hybrid`, before any training. **{drift.verdict.capitalize()}**:\n\n{bullets}\n\n"
        f"{folded('Growth factors', table(header, rows))}\n\nGrowth factor: geometric mean over "
        f"Fourier blocks of mean |output| / mean |input|. {_MEANS} Convolutions "
        "between the levels change the mean as well; they are in the figure, not in the factor. It "
        "says how networks start, not that growth makes runs fail."
    )


def _failed(found: Findings) -> str:
    if not found.failed:
        return ""
    rows = [
        [
            f"`{item['network']['name']}` seed {item['network']['seed']}",
            item["network"]["outcome"],
            item["network"]["state"],
            item["unusable"] or "usable",
            number(item.get("spectral_local_ratio")),
            number(item.get("growth_per_block")),
        ]
        for item in found.failed
    ]
    header = (
        "run",
        "outcome",
        "weights",
        "state",
        "spectral / local gradients",
        "growth per block",
    )
    return "## Runs that failed in training\n\n" + table(header, rows)


def _made(found: Findings) -> str:
    versions = ", ".join(f"{k} {v}" for k, v in found.provenance.get("versions", {}).items())
    return (
        f"`{found.provenance.get('command')}`, commit {found.provenance.get('commit')}, "
        f"{found.provenance.get('platform')}; {versions}. Confidence "
        f"{percent(found.study.statistics.confidence)}."
    )
