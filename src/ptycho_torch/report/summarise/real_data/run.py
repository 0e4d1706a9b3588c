"""Write the summary of all measurements of a study: text, table, figures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ptycho_torch.config.read import parse_study
from ptycho_torch.files import io
from ptycho_torch.report.summarise.real_data.collect import collect
from ptycho_torch.report.summarise.real_data.report import summary_text
from ptycho_torch.report.summarise.real_data.table import scores
from ptycho_torch.runtime.errors import InputError


def summarise_real_data(
    study: Mapping[str, Any], *, provenance: Mapping[str, Any], folder: io.PathLike
) -> None:
    """Write summary.md and scores.csv, and the figures of each measurement into its folder.

    Parameters
    ----------
    study
        The configuration in force, as nested mappings.
    provenance
        What `provenance.collect_provenance` returns.
    folder
        `results/real_data`, which has a folder for each measurement (docs/files.md).

    Raises
    ------
    InputError
        If the configuration has no real measurements, or a file is missing or damaged.
    """
    from ptycho_torch.report.summarise.real_data.figures import (
        draw_all,  # matplotlib: slow to import
    )

    parsed, folder = parse_study(study, "study"), Path(folder)
    real = parsed.real_data
    if real is None:
        raise InputError("study: has no block real_data, so there is nothing to summarise")
    every = [collect(parsed, name, folder / name) for name in real.measurements]
    for found in every:
        draw_all(found, folder / found.name)
    io.write_csv(folder / "scores.csv", pd.concat([scores(found) for found in every]))
    io.write_text(folder / "summary.md", summary_text(parsed.title, real, every, provenance))
