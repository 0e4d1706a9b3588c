"""Learning curves as data for the page's script, which hands them to Plotly."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

LOSS_LABELS = {"mae_val_loss": "MAE", "poisson_val_loss": "Poisson"}

# After Okabe and Ito (2008), told apart by all kinds of colour vision. On a dark ground each has a
# lighter sister, since black and deep blue would drown there.
_LIGHT = ("#1c1c1c", "#0072b2", "#d55e00", "#009e73", "#b8558d", "#c98600", "#3a9fd6")
_DARK = ("#f2f2f2", "#4aa3e0", "#f58442", "#2fc79b", "#e79cc6", "#f2bf4e", "#a5dcff")
# Beyond seven arms the colours come again, in another kind of line.
_DASHES = (("solid", ""), ("dash", "6 3"), ("dot", "2 3"), ("dashdot", "6 3 2 3"))


def arm_styles(arms: list[str]) -> list[dict[str, str]]:
    """Return colour on light, colour on dark and kind of line of each arm."""
    styles = []
    for index, arm in enumerate(arms):
        turn, colour = divmod(index, len(_LIGHT))
        dash, dasharray = _DASHES[turn % len(_DASHES)]
        look = {"light": _LIGHT[colour], "dark": _DARK[colour]}
        styles.append({"name": arm, **look, "dash": dash, "dasharray": dasharray})
    return styles


def curves(
    runs: pd.DataFrame, history: pd.DataFrame, noise_floor: Mapping[str, float | None]
) -> dict[str, Any]:
    """Return what the script draws: arms, kinds of loss, and a line per run in the table's order.

    Losses of different kinds have different units, so each kind is a picture of its own.

    Parameters
    ----------
    runs, history
        A row per run, and per run and finished epoch.
    noise_floor
        Dataset -> MAE of the noise alone, where it is known.
    """
    names, arms = sorted(set(runs["val_loss_name"].dropna())), list(dict.fromkeys(runs["arm"]))
    epochs = dict(list(history.sort_values("epoch").groupby(["dataset", "arm", "seed"])))
    lines = []
    for _, run in runs.iterrows():
        rows, name = epochs.get((run["dataset"], run["arm"], run["seed"])), run["val_loss_name"]
        lines.append(
            {
                "arm": arms.index(run["arm"]),
                "label": f"{run['arm']}, seed {run['seed']}",
                "dataset": run["dataset"],
                "outcome": run["outcome"],
                "failed": bool(run["failed"]),
                "loss": names.index(name) if name in names else -1,
                "x": [] if rows is None else [int(epoch) for epoch in rows["epoch"]],
                "y": [] if rows is None else [_short(float(value)) for value in rows[name]],
            }
        )
    floors = {d: v for d, v in noise_floor.items() if v is not None and d in set(runs["dataset"])}
    return {
        "arms": arm_styles(arms),
        "losses": [_loss(place, name, lines, floors) for place, name in enumerate(names)],
        "runs": lines,
    }


def _loss(
    place: int, name: str, lines: list[dict[str, Any]], floors: Mapping[str, float]
) -> dict[str, Any]:
    values = [y for line in lines if line["loss"] == place for y in line["y"] if y is not None]
    least = min(values, default=0.0)
    return {
        "name": name,
        "label": f"validation loss ({LOSS_LABELS.get(name, name)})",
        # A Poisson likelihood may be negative, where a logarithm has nothing to show.
        "log": least > 0,
        # The axis makes room for each level, and one far below would press the curves together.
        "floors": [
            {"dataset": dataset, "value": value, "drawn": value > least / 4}
            for dataset, value in floors.items()
            if name == "mae_val_loss"
        ],
    }


def _short(value: float) -> float | None:
    """Return six digits of a value, more than a screen resolves; none if it is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
