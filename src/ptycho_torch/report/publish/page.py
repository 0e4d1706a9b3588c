"""Write the whole study as one page that needs no server, no network and no Snakemake."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import UndefinedError
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.report.publish.curves import LOSS_LABELS, arm_styles, curves
from ptycho_torch.report.publish.pictures import galleries
from ptycho_torch.report.rendering import TEMPLATES, render_html
from ptycho_torch.report.runs_table import read_table
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.statistics.scores import (
    AMPLITUDE_SSIM,
    BEST_LOSS,
    COMPLEX_ERROR,
    OUTCOMES,
    PHASE_SSIM,
)

SCORES = (AMPLITUDE_SSIM, PHASE_SSIM, COMPLEX_ERROR)
_KEYS = ("dataset", "arm", "seed")
RUN_COLUMNS = (
    *("stages", *_KEYS, "outcome", "failed", "reason", "epochs", "val_loss_name"),
    *(BEST_LOSS.column, *(score.column for score in SCORES)),
    *("grad_norm_p99", "clipped_share", "wall_s", "undefined"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Everything that the page shows."""

    runs: pd.DataFrame
    """A row per distinct run."""

    history: pd.DataFrame
    """A row per run and finished epoch."""

    decision: dict[str, Any]
    """`decision.json`."""

    study: dict[str, Any]
    """`study.json`: titles, questions, answers, baselines, provenance."""

    reconstructions: Sequence[Path]
    """`reconstruction.npz` of runs."""


def publish_page(
    *,
    runs: PathLike,
    history: PathLike,
    decision: PathLike,
    study: PathLike,
    reconstructions: Sequence[PathLike],
    page: PathLike,
) -> None:
    """Write the page: decision, stages, all runs, curves, pictures, rules and provenance.

    Parameters
    ----------
    runs, history
        CSV tables of every distinct run, and of every run and finished epoch.
    decision, study
        JSON: what is decided and by which rules; titles, questions, answers and baselines.
    reconstructions
        `.../<dataset>/<arm>/seed-<n>/reconstruction.npz`, at least of the runs to be shown.
    page
        Where to write; the same inputs give the same bytes.

    Raises
    ------
    InputError
        If a file is unreadable, lacks a column, key or array, or if a run that has to be shown has
        no reconstruction.
    """
    table = read_table(runs, *RUN_COLUMNS)
    losses = sorted(set(table["val_loss_name"].dropna()))
    inputs = Inputs(
        runs=table,
        history=read_table(history, *_KEYS, "epoch", *losses),
        decision=io.read_json(decision),
        study=io.read_json(study),
        reconstructions=[Path(path) for path in reconstructions],
    )
    try:
        text = render(inputs)
    except (KeyError, UndefinedError) as error:
        raise InputError(
            f"{study}, {decision}: {error}; another version wrote them, make them again"
        ) from None
    io.write_text(page, text)


def render(inputs: Inputs) -> str:
    """Return the page's HTML."""
    runs, study = inputs.runs, inputs.study
    arms = list(dict.fromkeys(runs["arm"]))
    drawn = curves(runs, inputs.history, study["noise_floor"])
    dumps = partial(json.dumps, allow_nan=False, separators=(",", ":"), sort_keys=True)
    return render_html(
        "page.html.j2",
        study=study,
        decision=inputs.decision,
        runs=runs.astype(object).where(runs.notna(), None).to_dict("records"),
        stages=[name for name in study["stages"] if _uses(runs, name)],
        arms=arms,
        outcomes=[name for name in OUTCOMES if name in set(runs["outcome"])],
        datasets=list(dict.fromkeys(runs["dataset"])),
        scores=SCORES,
        loss_labels=LOSS_LABELS,
        is_mae=set(runs["val_loss_name"]) == {"mae_val_loss"},
        several_losses=runs["val_loss_name"].nunique() > 1,
        styles={style["name"]: style for style in arm_styles(arms)},
        curves=drawn,
        without_curve=[
            line["label"] for line in drawn["runs"] if not any(y is not None for y in line["y"])
        ],
        galleries=galleries(runs, inputs.reconstructions, study["undefined"]),
        why_undefined=why_undefined,
        seconds_text=seconds_text,
        data=htmlsafe_json_dumps(drawn, dumps=dumps),
        css=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        script=_inline_script((TEMPLATES / "page.js").read_text(encoding="utf-8")),
        plotly=_inline_script(get_plotlyjs()),
    )


def seconds_text(seconds: float | None) -> str:
    """Return a time as people say it: 42 s, 3 min 20 s, 1 h 05 min."""
    whole = round(seconds or 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round((seconds or 0) / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def why_undefined(run: dict[str, Any], column: str) -> str:
    """Return why a run lacks a score, from its list `name: reason; name: reason`."""
    name = column.removeprefix("best_")
    for part in str(run["undefined"]).split("; "):
        if part.startswith(f"{name}: "):
            return part.removeprefix(f"{name}: ")
    return "no epoch ended" if run["epochs"] == 0 else ""


def _uses(runs: pd.DataFrame, stage: str) -> bool:
    return any(stage in names.split(";") for names in runs["stages"])


def _inline_script(source: str) -> Markup:
    """Return a script that cannot end its element early, whatever a later version may contain."""
    return Markup(re.sub(r"<(?=/script|!--)", r"\\x3c", source, flags=re.IGNORECASE))
