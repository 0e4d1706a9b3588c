"""Write the whole study as one page that needs no server, no network and no Snakemake."""

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.report.publish.curves import arm_styles, curves
from ptycho_torch.report.publish.inputs import Inputs, read_inputs
from ptycho_torch.report.publish.pictures import galleries
from ptycho_torch.report.publish.table import run_table

_HERE = Path(__file__).parent


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
        If a file is unreadable, lacks a column, key or array, knows runs that the table of runs
        does not, or if a run that has to be shown has no reconstruction.
    """
    inputs = read_inputs(
        runs=runs,
        history=history,
        decision=decision,
        study=study,
        reconstructions=reconstructions,
    )
    io.write_text(page, render(inputs))


def render(inputs: Inputs) -> str:
    """Return the page's HTML."""
    table = run_table(inputs.runs, inputs.study)
    drawn = curves(inputs, table.arms)
    without = [line["label"] for line in drawn["runs"] if not any(_known(line["y"]))]
    return (
        _environment()
        .get_template("page.html")
        .render(
            study=inputs.study,
            decision=inputs.decision,
            table=table,
            styles={style["name"]: style for style in arm_styles(table.arms)},
            curves=drawn,
            without_curve=without,
            galleries=galleries(inputs),
            data=htmlsafe_json_dumps(drawn, dumps=_dumps),
            css=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
            script=_inline_script((_HERE / "page.js").read_text(encoding="utf-8")),
            plotly=_inline_script(get_plotlyjs()),
        )
    )


_dumps = partial(json.dumps, allow_nan=False, separators=(",", ":"), sort_keys=True)


def _known(values: Sequence[float | None]) -> list[bool]:
    return [value is not None for value in values]


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = prose
    return environment


def prose(text: str) -> Markup:
    """Return a sentence as HTML: markup in it is text, and `names` in backticks are set as code.

    The same sentences go into the Markdown summaries, where backticks mean this.
    """
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _inline_script(source: str) -> Markup:
    """Return a script that cannot end its element early, whatever a later version may contain."""
    return Markup(re.sub(r"<(?=/script|!--)", r"\\x3c", source, flags=re.IGNORECASE))
