"""The scores of a measurement as rows: for scores.csv one a run, for the summary one a network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import pandas as pd

from ptycho_torch.report.summarise.real_data.collect import Collected, Result
from ptycho_torch.runtime.markdown import number, table

Metrics = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One score: key in scores.csv, heading, where it stands, and which baselines stand under
    it."""

    key: str
    label: str
    of: Callable[[Metrics], float | None]
    constant: str | None = None
    mean_frame: str | None = None


def _r(key: str) -> Callable[[Metrics], float | None]:
    return lambda metrics: metrics["r_factor"][key]


def _resolution(kind: str, level: str) -> Callable[[Metrics], float | None]:
    def found(metrics: Metrics) -> float | None:
        frequency = metrics["halves"][kind][level]
        return 1 / frequency if frequency > 0 else None

    return found


def _alike(key: str) -> Callable[[Metrics], float | None]:
    return lambda metrics: metrics["agreement"][key]


R_FACTORS = (
    Column(key="r_train", label="training frames, by the object", of=_r("train"),
           constant="constant_train", mean_frame="mean_frame_train"),
    Column(key="r_held_out_object", label="frames held out, by the training frames' object",
           of=_r("held_out_object"), constant="constant_held_out",
           mean_frame="mean_frame_held_out"),
    Column(key="r_other_half", label="other half, by one half's object", of=_r("other_half")),
    Column(key="r_held_out_stitched", label="frames held out, by an object from themselves",
           of=_r("held_out_stitched")),
    Column(key="r_held_out_patch", label="frames held out, by each one's own patch",
           of=_r("held_out_patch")),
)  # fmt: skip
RESOLUTIONS = tuple(
    Column(key=f"resolution_{kind}_{level}", label=f"{kind}, {name}", of=_resolution(kind, level))
    for kind in ("complex", "phase")
    for level, name in (("half_bit", "half bit"), ("half", "1/2"), ("seventh", "1/7"))
)
AGREEMENTS = tuple(
    Column(key=f"rpie_{key}", label=label, of=_alike(key), constant=key)
    for key, label in (
        ("correlation", "complex correlation"),
        ("contrast_correlation", "the same without the means"),
        ("amplitude_ssim", "amplitude SSIM"),
        ("phase_ssim", "phase SSIM"),
    )
)
COLUMNS = (*R_FACTORS, *RESOLUTIONS, *AGREEMENTS)


def scores(found: Collected) -> pd.DataFrame:
    """Return a row for every reconstruction, failed ones with their reason."""
    rows = []
    for result in found.results:
        failure = result.metrics["failure"] or {}
        row: dict[str, Any] = {
            "measurement": found.name,
            "arm": result.label,
            "seed": result.seed,
            "outcome": result.metrics["outcome"],
            "reason": failure.get("reason"),
            "best_val_loss": result.report.get("best_val_loss"),
            "seconds": result.report["seconds"],
        }
        for column in COLUMNS:
            row[column.key] = column.of(result.metrics) if result.completed else None
        rows.append(row)
    every = pd.DataFrame(rows)
    return every.astype({"seed": "Int64"})


def score_table(found: Collected, columns: Sequence[Column], *, baselines: bool) -> str:
    """Return a table with a row for rPIE and each network, and for what knows no object."""
    rows = [["rPIE", *_cells([found.rpie], columns)]]
    for label in dict.fromkeys(result.label for result in found.networks):
        rows.append(
            [f"`{label}`", *_cells([r for r in found.networks if r.label == label], columns)]
        )
    if baselines:
        rows += _baseline_rows(found, columns)
    return table(("", *(column.label for column in columns)), rows)


def _cells(results: Sequence[Result], columns: Sequence[Column]) -> list[str]:
    """Return median [least, largest] over the seeds that ended well, and how many did not."""
    good = [result for result in results if result.completed]
    failed = len(results) - len(good)
    tail = f"; {failed} of {len(results)} failed" if failed else ""
    cells = []
    for column in columns:
        values = [column.of(result.metrics) for result in good]
        numbers = [value for value in values if value is not None]
        if not numbers:
            cells.append("none: all failed" if not good else "-")
        elif len(numbers) == 1:
            cells.append(number(numbers[0]) + tail)
        else:
            ends = f"[{number(min(numbers))}, {number(max(numbers))}]"
            cells.append(f"{number(median(numbers))} {ends}{tail}")
    return cells


def _baseline_rows(found: Collected, columns: Sequence[Column]) -> list[list[str]]:
    if columns == AGREEMENTS:
        constant = found.rpie.metrics["agreement"]["constant"]
        return [["constant object", *(_number(constant[str(c.constant)]) for c in columns)]]
    known = found.rpie.metrics["baselines"]
    rows = [
        [name, *(_number(known[key]) if (key := getattr(c, which)) else "-" for c in columns)]
        for name, which in (
            ("constant object under the probe", "constant"),
            ("mean of the training frames", "mean_frame"),
        )
    ]
    rows.append(["photon noise alone, if rPIE were the truth", _number(known["noise"]),
                 *["-"] * (len(columns) - 1)])  # fmt: skip
    return rows


def _number(value: float | None) -> str:
    return "-" if value is None else number(value)
