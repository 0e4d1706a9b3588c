"""What the summary does not show, and how it was made."""

from collections.abc import Mapping
from typing import Any

from ptycho_torch.config.arms import derive
from ptycho_torch.config.dataset import SimulatedDataset
from ptycho_torch.config.study import Study
from ptycho_torch.config.training import TrainingSettings
from ptycho_torch.config.variants import BLOCKS, merge
from ptycho_torch.report.summarise.findings import Findings
from ptycho_torch.runtime.markdown import folded, listed, number, percent, plain, plural, table
from ptycho_torch.statistics import estimates


def limits(findings: Findings) -> str:
    """Return what the numbers mean and what they cannot show, for these data and seeds."""
    items = [*_seed_limits(findings), *_data_limits(findings)]
    return "## What it means, and its limits\n\n" + "\n".join(f"- {item}" for item in items)


def _seed_limits(findings: Findings) -> list[str]:
    seeds, confidence = len(findings.stage.seed_list), findings.confidence
    needed = estimates.pairs_needed(confidence)
    corrected = estimates.pairs_needed(confidence, max(len(findings.stage.pairs), 1))
    bound = estimates.wilson_interval(0, seeds, confidence).high
    enough = "" if seeds >= corrected else ", which this study does not have"
    return [
        f"**Seeds.** {plural(seeds, 'seed')} per arm. A paired difference needs {needed} pairs of "
        f"successful runs to be supported at {percent(confidence)}, {corrected} where the "
        f"correction for the number of arms applies in full{enough}. An arm that never fails in "
        f"{plural(seeds, 'run')} may still fail in up to {percent(bound)} of many (Wilson bound).",
        "**Selection.** Scores are medians of successful runs. An arm that fails often is judged "
        "by its luckier runs, so read the scores beside the failures.",
        "**Stagnation.** A run that only learns slowly is no failure by these outcomes. It shows "
        "in its loss and scores.",
        "**Pairs.** A seed names the random streams of weights and data order. Arms with the "
        "same generator start from the same weights; others share the data order only.",
        "**One object per split.** All runs see the same data. The spread is that of weights and "
        "data order, not of objects or noise.",
    ]


def _data_limits(findings: Findings) -> list[str]:
    data = findings.study.datasets[findings.stage.dataset]
    items = [f"**Twin.** {_twin(findings)}"]
    if not isinstance(data, SimulatedDataset):
        return [
            *items,
            "**Data.** The files were not made here; probe and phase are as their maker left them.",
        ]
    items.append(
        f"**Probe.** The {data.probe.shape} probe is known to the networks. A real one must be "
        "measured, and where it is refined the scale of the object is free."
    )
    if not data.object.set_phi:
        items.append(
            "**Phase.** The object has none (`set_phi: false`), so no phase score is defined."
        )
    elif data.object.phase == "from_amplitude":
        items.append(
            "**Phase.** The object's phase is a function of its amplitude (`phase: "
            "from_amplitude`). Phase scores are no independent evidence: a network that finds "
            "the amplitude has seen the phase."
        )
    else:
        items.append(
            "**Phase.** The object's phase is independent of its amplitude (`phase: independent`)."
        )
    return [
        *items,
        "**Patch phases.** A pattern does not fix the phase constant of its patch; see the "
        "table of phase scores.",
    ]


def _twin(findings: Findings) -> str:
    shares = findings.runs["twin_share"].astype(float).dropna()
    seen = (
        f"In these runs at most {percent(float(shares.max()))} of a run's distinguishable patches "
        "lie on it"
        if len(shares)
        else "Its share is not defined in these runs"
    )
    data = findings.study.datasets[findings.stage.dataset]
    rule = "Only a probe whose modulus is not point-symmetric makes it fit worse than the truth."
    if isinstance(data, SimulatedDataset) and data.probe.shape == "disk":
        rule = (
            "This probe is point-symmetric, so the twin fits as well as the truth: which of the "
            "two a run finds is in part a coin toss, and SSIM alone cannot rank arms."
        )
    elif isinstance(data, SimulatedDataset) and data.probe.shape == "triangle":
        rule = (
            "The modulus of this probe is not point-symmetric, so the twin does not fit as well "
            "as the truth."
        )
    return (
        "A pattern does not change when the exit wave is turned by 180 degrees and conjugated. "
        f"{rule} {seen}."
    )


def how_made(findings: Findings) -> str:
    """Return commit, versions, devices, data, thresholds, time and configuration."""
    provenance = findings.provenance
    versions = provenance.get("versions", {})
    rows = [
        ["command", f"`{provenance.get('command', 'not recorded')}`"],
        ["commit of this summary", str(provenance.get("commit", "not recorded"))],
        ["machine of this summary", str(provenance.get("platform", "not recorded"))],
        ["Python", str(provenance.get("python", "not recorded"))],
        [
            "versions at this summary",
            ", ".join(f"{name} {version}" for name, version in versions.items()) or "not recorded",
        ],
        *(
            [f"{what} of the runs", listed(sorted(findings.runs[column].astype(str).unique()))]
            for what, column in (
                ("commit", "commit"),
                ("platform", "platform"),
                ("torch", "torch"),
            )
        ),
        ["device of the runs", listed(sorted(findings.runs["device"].astype(str).unique()))],
        ["threads per run", listed([str(n) for n in sorted(findings.runs["threads"].unique())])],
        *_data_rows(findings),
    ]
    return (
        "## How it was "
        "made\n\n"
        f"{table(('what', 'value'), rows)}\n\n"
        f"{_thresholds(findings)}\n\n"
        f"{_time(findings)}\n\n{folded('Configuration of this stage', _configuration(findings))}"
    )


def _data_rows(findings: Findings) -> list[list[str]]:
    splits = findings.collected.dataset["splits"]
    rows = []
    for split, facts in splits.items():
        groups = f"; {facts['groups']} groups of patches" if "groups" in facts else ""
        rows.append([f"data, {split}", f"SHA-256 `{facts['sha256']}`{groups}"])
    return rows


def _thresholds(findings: Findings) -> str:
    judged, train = findings.study.evaluation, findings.study.training
    rows = [
        ["`non_finite`", "NaN or infinity in the loss, a gradient or the reconstruction"],
        [
            "`exploded`",
            f"{train.explode_patience_steps} steps in a row with a loss beyond "
            f"{plain(train.explode_factor)} times the run's first; a shorter spike is counted",
        ],
        [
            "`collapsed`",
            "standard deviation of the stitched amplitude under "
            f"{percent(judged.collapse_fraction)} of the truth's{_guard(train)}",
        ],
        [
            "`twin`",
            f"more than {percent(judged.twin_share)} of the distinguishable patches closer to the "
            "twin",
        ],
        [
            "`misfit`",
            f"median exit wave correlates under {plain(judged.misfit_correlation)} with the true "
            "wave and with its twin, or the stitched amplitude's Pearson r is under "
            f"{plain(judged.misfit_pearson_r)}, although the best validation loss is at most "
            f"{plain(judged.misfit_loss)}",
        ],
        [
            "`stagnated`",
            f"the same with a best validation loss over {plain(judged.misfit_loss)}",
        ],
        [
            "`completed`",
            "none of these: the run counts as successful, also where its loss merely stays high",
        ],
    ]
    return "Outcomes, by these thresholds:\n\n" + table(("outcome", "threshold"), rows)


def _guard(train: TrainingSettings) -> str:
    """Return when training itself ends a run as `collapsed`."""
    if train.collapse_variance is None:
        return ""
    return (
        f"; in training: relative variance of every patch under {plain(train.collapse_variance)} "
        f"for {plural(train.collapse_patience_epochs, 'epoch')} in a row"
    )


def _time(findings: Findings) -> str:
    runs = findings.runs
    rows = []
    for arm in findings.stage.arms:
        mine = runs[runs["arm"] == arm]
        medians = [
            number(float(mine[key].astype(float).median()))
            for key in ("wall_s", "samples_per_s", "peak_memory_mib")
        ]
        parameters = f"{int(mine['parameters_full'].iloc[0]):,}"
        rows.append([f"`{arm}`", parameters, *medians])
    header = ("arm", "parameters", "fit, s", "samples per s", "peak memory, MiB")
    total = float(runs["wall_s"].astype(float).sum())
    return (
        f"{table(header, rows)}\n\nMedians over all runs of an arm; a complex weight counts once. "
        f"All fits together took {number(total / 60)} min."
    )


def _configuration(findings: Findings) -> str:
    study, stage = findings.study, findings.stage
    blocks = {
        "dataset": study.datasets[stage.dataset],
        "generator": study.generator,
        "training": study.training,
        "execution": study.execution,
        "evaluation": study.evaluation,
        "statistics": study.statistics,
    }
    rows = [
        [f"`{name}.{key}`", _value(value)]
        for name, block in blocks.items()
        for key, value in _flat(block.published())
    ]
    for arm in stage.arms:
        for name in ("generator", "training", "execution"):
            rows += [
                [f"`{arm}`: `{name}.{key}`", _value(value)]
                for key, value in _flat(_differing(study, arm).get(name, {}))
            ]
    rows.append(["seeds", ", ".join(map(str, stage.seed_list))])
    return table(("key", "value"), rows)


def _differing(study: Study, arm: str) -> Mapping[str, Any]:
    """Return what an arm's block says, and what a variant changes, as nested blocks."""
    variant = derive(study).variants.get(arm)
    base = study.arms[variant.base if variant else arm]
    blocks = {name: getattr(base, name) for name in BLOCKS}
    return merge(blocks, variant.overrides(), ()) if variant else blocks


def _flat(block: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in block.items():
        if isinstance(value, Mapping):
            pairs += _flat(value, f"{before}{key}.")
        else:
            pairs.append((f"{before}{key}", value))
    return pairs


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return plain(value) if isinstance(value, float) else str(value)
