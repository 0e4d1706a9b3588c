"""Summarise the whole study: every stage in short, every run in one table, and the decision."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ptycho_torch.config.read import parse_study
from ptycho_torch.config.study import Study
from ptycho_torch.files import io
from ptycho_torch.report.figures import overview
from ptycho_torch.report.rendering import render
from ptycho_torch.runtime.plot_style import save, styled
from ptycho_torch.statistics.estimates import failure_rate, spread
from ptycho_torch.statistics.runs import AMPLITUDE_SSIM, COMPLEX_ERROR, COMPOSITE, LOSS, Score


def summarise_study(
    *,
    findings: Sequence[io.PathLike],
    decision: io.PathLike,
    study: Mapping[str, Any],
    provenance: Mapping[str, Any],
    folder: io.PathLike,
) -> None:
    """Write summary.md, runs.csv and the overview of the whole study.

    `findings` are the `findings.json` of every stage, beside which its `runs.csv` lies; `study` is
    the configuration in force. Raises InputError if it, or a file, cannot be used.
    """
    parsed, folder = parse_study(study, "study"), Path(folder)
    stages = {Path(path).parent.name: io.read_json(path) for path in findings}
    runs = _runs([Path(path).parent for path in findings])
    scores = (LOSS, AMPLITUDE_SSIM, COMPLEX_ERROR)
    # The stress stage has a figure and tables of its own for the points of its grid.
    off_grid = runs[runs["stages"] != "stress"]
    by_dataset = {found["dataset"]: found for found in stages.values()}
    text = render(
        "study.md.j2",
        study=parsed,
        stages=stages,
        datasets=by_dataset,
        decision=io.read_json(decision),
        scores=scores,
        rows=_rows(off_grid, parsed, scores),
        runs=runs,
        made=provenance,
    )
    io.write_csv(folder / "runs.csv", runs)
    one = [found["baselines"].values() for found in by_dataset.values()]
    levels = [scores[AMPLITUDE_SSIM.name] for scores in one[0]] if len(one) == 1 else []
    with styled():
        save(overview(off_grid, parsed, levels), folder, "overview")
    io.write_text(folder / "summary.md", text)


def _runs(folders: Sequence[Path]) -> pd.DataFrame:
    """Return the runs of every stage, each once, with the stages that use it."""
    tables = [io.read_csv(folder / "runs.csv").assign(stages=folder.name) for folder in folders]
    runs, key = pd.concat(tables, ignore_index=True), ["dataset", "arm", "seed"]
    runs["stages"] = runs.groupby(key)["stages"].transform(";".join)
    return runs.drop_duplicates(key, ignore_index=True)


def _rows(runs: pd.DataFrame, study: Study, scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Return what the tables of arms show, the lowest mean composite loss of a dataset first."""
    rows = [
        {
            "arm": arm,
            "dataset": dataset,
            "shallow": "stage_a" in mine["stages"].iloc[0].split(";"),
            "mean_loss": float(np.exp(np.log(mine[COMPOSITE.column]).mean())),
            "failed": failure_rate(mine, str(arm), study.statistics.confidence),
            "spreads": [spread(mine.loc[~mine["failed"], s.column].astype(float)) for s in scores],
        }
        for (dataset, arm), mine in runs.groupby(["dataset", "arm"], sort=False)
    ]
    return sorted(rows, key=lambda row: (row["dataset"], row["mean_loss"]))
