"""Learning curves as data for the page's script, which hands them to Plotly."""

import math
from typing import Any

import pandas as pd

from ptycho_torch.report.publish.inputs import Inputs, run_of
from ptycho_torch.report.publish.table import LOSS_LABELS

# After Okabe and Ito (2008), told apart by all kinds of colour vision. On a dark ground each has a
# lighter sister, since black and deep blue would drown there.
_LIGHT = ("#1c1c1c", "#0072b2", "#d55e00", "#009e73", "#b8558d", "#c98600", "#3a9fd6")
_DARK = ("#f2f2f2", "#4aa3e0", "#f58442", "#2fc79b", "#e79cc6", "#f2bf4e", "#a5dcff")
# Beyond seven arms the colours come again, in another kind of line.
_DASHES = ("solid", "dash", "dot", "dashdot")
_DASH_ARRAYS = {"solid": "", "dash": "6 3", "dot": "2 3", "dashdot": "6 3 2 3"}


def arm_styles(arms: list[str]) -> list[dict[str, str]]:
    """Return colour on light, colour on dark and kind of line of each arm."""
    styles = []
    for index, arm in enumerate(arms):
        colour = index % len(_LIGHT)
        dash = _DASHES[index // len(_LIGHT) % len(_DASHES)]
        styles.append(
            {
                "name": arm,
                "light": _LIGHT[colour],
                "dark": _DARK[colour],
                "dash": dash,
                "dasharray": _DASH_ARRAYS[dash],
            }
        )
    return styles


def curves(inputs: Inputs, arms: list[str]) -> dict[str, Any]:
    """Return what the script draws: arms, kinds of loss, and a line per run in the table's order.

    Losses of different kinds have different units, so each kind is a picture of its own.
    """
    names = sorted(set(inputs.runs["val_loss_name"].dropna()))
    epochs = {
        run_of(rows.iloc[0]): rows.sort_values("epoch")
        for _, rows in inputs.history.groupby(["dataset", "arm", "seed"])
    }
    lines = [_line(run, epochs.get(run_of(run)), names, arms) for _, run in inputs.runs.iterrows()]
    return {
        "arms": arm_styles(arms),
        "losses": [_loss(place, name, lines, inputs) for place, name in enumerate(names)],
        "runs": lines,
    }


def _line(
    run: "pd.Series[Any]", epochs: pd.DataFrame | None, names: list[str], arms: list[str]
) -> dict[str, Any]:
    name = run["val_loss_name"]
    points: list[tuple[int, float | None]] = []
    if epochs is not None and name in names:
        points = [
            (int(epoch), _short(float(value)))
            for epoch, value in zip(epochs["epoch"], epochs[name], strict=True)
        ]
    return {
        "arm": arms.index(run["arm"]),
        "label": f"{run['arm']}, seed {run['seed']}",
        "dataset": run["dataset"],
        "outcome": run["outcome"],
        "failed": bool(run["failed"]),
        "loss": names.index(name) if name in names else -1,
        "x": [epoch for epoch, _ in points],
        "y": [value for _, value in points],
    }


def _loss(place: int, name: str, lines: list[dict[str, Any]], inputs: Inputs) -> dict[str, Any]:
    values = [y for line in lines if line["loss"] == place for y in line["y"] if y is not None]
    least = min(values, default=0.0)
    floors = inputs.study.noise_floor if name == "mae_val_loss" else {}
    present = set(inputs.runs["dataset"])
    return {
        "name": name,
        "label": f"validation loss ({LOSS_LABELS.get(name, name)})",
        # A Poisson likelihood may be negative, where a logarithm has nothing to show.
        "log": least > 0,
        # The axis makes room for each level, and one far below would press the curves together.
        "floors": [
            {"dataset": dataset, "value": value, "drawn": value > least / 4}
            for dataset, value in floors.items()
            if value is not None and dataset in present
        ],
    }


def _short(value: float) -> float | None:
    """Return six digits of a value, more than a screen resolves; none if it is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
