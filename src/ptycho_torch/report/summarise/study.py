"""Summarise the whole study: every stage in short, every run in one table, and the decision."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ptycho_torch.config.read import parse_study
from ptycho_torch.config.study import Study
from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.files.schemas import StageFindings, read_result
from ptycho_torch.report.wording import bounds, counts
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.markdown import number, plural, spread_text, table
from ptycho_torch.statistics.runs import failure_rate, score_spread
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM, COMPLEX_ERROR, loss_score

Stages = Mapping[str, Mapping[str, Any]]
"""Stage -> its findings.json."""

_RUN = ["dataset", "arm", "seed"]


def summarise_study(
    *,
    findings: Sequence[PathLike],
    decision: PathLike,
    study: Mapping[str, Any],
    provenance: Mapping[str, Any],
    folder: PathLike,
) -> None:
    """Write summary.md, runs.csv, history.csv, study.json and the overview of the whole study.

    Parameters
    ----------
    findings
        `findings.json` of every stage; `runs.csv` and `history.csv` lie beside it.
    decision
        `decision.json`.
    study
        The configuration in force, as nested mappings.
    provenance
        What `provenance.collect_provenance` returns.
    folder
        Where to write.

    Raises
    ------
    InputError
        If the configuration is wrong, or a file is missing, unreadable or lacks a key.
    """
    parsed, folder = parse_study(study, "study"), Path(folder)
    stages = {Path(path).parent.name: read_result(path, StageFindings) for path in findings}
    runs = _merged(findings, "runs.csv")
    history = _merged(findings, "history.csv").drop(columns="stages")
    decided = io.read_json(decision)
    for key in ("decision", "headline", "because", "would_change"):
        if key not in decided:
            raise InputError(f"{decision}: lacks '{key}'; delete it and run again")
    io.write_csv(folder / "runs.csv", runs)
    io.write_csv(folder / "history.csv", history)
    io.write_json(folder / "study.json", _facts(parsed, stages, provenance))
    _draw(runs, stages, parsed, folder)
    io.write_text(
        folder / "summary.md", _text(parsed, stages, runs, decided, provenance=provenance)
    )


def _draw(runs: pd.DataFrame, stages: Stages, study: Study, folder: Path) -> None:
    from ptycho_torch.report.summarise.figures.study import overview
    from ptycho_torch.runtime.plot_style import save, styled  # matplotlib: slow to import

    with styled():
        save(overview(runs, stages, study), folder, "overview")


def _merged(findings: Sequence[PathLike], name: str) -> pd.DataFrame:
    """Return one table of every stage, each run once, with the stages that use it."""
    key = [*_RUN, "epoch"] if name == "history.csv" else _RUN
    tables = []
    for path in map(Path, findings):
        one = io.read_csv(path.parent / name)
        missing = [column for column in key if column not in one]
        if missing:
            raise InputError(f"{path.parent / name}: lacks the column '{missing[0]}'")
        one.insert(0, "stages", path.parent.name)
        tables.append(one)
    everything = pd.concat([one for one in tables if len(one)] or tables[:1], ignore_index=True)
    used = everything.groupby(key, sort=False)["stages"].agg(";".join).reset_index()
    once = everything.drop(columns="stages").drop_duplicates(key)
    merged = once.merge(used, on=key, how="left")
    return merged[["stages", *(column for column in merged if column != "stages")]]


def _facts(study: Study, stages: Stages, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return `study.json`: what a page of the whole study needs beside tables and decision."""
    by_dataset = {found["dataset"]: found for found in stages.values()}
    undefined: dict[str, str] = {}
    for found in stages.values():
        undefined |= found["undefined"]
    return {
        "title": study.title,
        "protocol": study.protocol,
        "stages": {
            name: {
                "title": found["title"],
                "question": found["question"],
                "answer": found["answer"],
                "summary": f"{name}/summary.md",
            }
            for name, found in stages.items()
        },
        "baselines": {name: found["baselines"] for name, found in by_dataset.items()},
        "noise_floor": {name: found.get("noise_floor") for name, found in by_dataset.items()},
        "undefined": undefined,
        "provenance": dict(provenance),
    }


def _text(
    study: Study,
    stages: Stages,
    runs: pd.DataFrame,
    decision: Mapping[str, Any],
    *,
    provenance: Mapping[str, Any],
) -> str:
    note = (
        "\n\n> [!IMPORTANT]\n> This is the **small** study, made to end in minutes: "
        f"{plural(len(study.stage_a.seed_list), 'seed')} per arm. It shows that the pipeline "
        "works; it is not the protocol."
        if study.protocol == "small"
        else ""
    )
    parts = [
        f"# The whole study: {study.title}{note}",
        f"## Decision\n\n**{decision['headline']}.**\n\n{_bullets(decision['because'])}\n\n"
        f"What would change it:\n\n{_bullets(decision['would_change'])}\n\n"
        "Rule by rule: [decision.md](decision.md).",
    ]
    parts += [
        f"## {found['title']}\n\n**Question.** {found['question']}\n\n"
        f"{_bullets(found['answer'])}\n\n[Summary of this stage](../{name}/summary.md)"
        for name, found in stages.items()
    ]
    parts += [_every_arm(runs, study, stages), _made(runs, provenance)]
    return "\n\n".join(parts) + "\n"


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line[:1].upper()}{line[1:].rstrip('.')}." for line in lines)


def _every_arm(runs: pd.DataFrame, study: Study, stages: Stages) -> str:
    loss = loss_score(runs["val_loss_name"].tolist())
    scores = (loss, AMPLITUDE_SSIM, COMPLEX_ERROR)
    rows = []
    for (dataset, arm), mine in runs.groupby(["dataset", "arm"], sort=False):
        failed = failure_rate(mine, str(arm), study.statistics.confidence)
        cells = [
            spread_text(score_spread(mine, str(arm), score.column), "no successful run")
            for score in scores
        ]
        rate = f"{counts(failed)} ({bounds(failed.interval)})"
        rows.append(
            [f"`{arm}`", str(dataset), mine["stages"].iloc[0].replace(";", ", "), rate, *cells]
        )
    for dataset, found in {f["dataset"]: f for f in stages.values()}.items():
        for block, label in (("constant", "*constant image*"), ("truth", "*noise-free truth*")):
            values = [number(found["baselines"][block].get(s.name)) for s in scores[1:]]
            rows.append([label, str(dataset), "", "no run", "", *values])
        if (made := found.get("conventional")) is not None:
            values = [number(made["scores"].get(s.name)) for s in scores[1:]]
            rows.append(["*conventional: rPIE*", str(dataset), "", made["outcome"], "", *values])
    beside = ""
    if any(found.get("conventional") for found in stages.values()):
        beside = (
            " rPIE is one reconstruction of the test split without training, and no arm; what it "
            "costs: [Stage A](../stage_a/summary.md)."
        )
    header = ("arm", "dataset", "stages", "failures", *(score.label for score in scores))
    return (
        "## Every arm\n\n![Every arm: loss, amplitude SSIM and failures](overview.png)\n\n"
        f"{table(header, rows)}\n\nFailures: k of n with the Wilson interval. Scores: median "
        f"[quartiles] (n) of successful runs. A run that several stages use is one "
        f"run: {len(runs)} in all.{beside}"
    )


def _made(runs: pd.DataFrame, provenance: Mapping[str, Any]) -> str:
    hours = float(runs["wall_s"].astype(float).sum()) / 3600
    versions = ", ".join(f"{k} {v}" for k, v in provenance.get("versions", {}).items())
    devices = ", ".join(sorted(runs["device"].astype(str).unique()))
    return (
        f"## How it was made\n\n`{provenance.get('command')}`, commit "
        f"{provenance.get('commit')}, {provenance.get('platform')}; {versions}. Device of the "
        f"runs: {devices}; all fits together took {hours:.2g} h."
    )
