"""A cost estimate, and a comparison, as tables to be read; the sentences lie in `templates`."""

from collections.abc import Mapping
from typing import Any

from tabulate import tabulate

from ptycho_torch.runtime.markdown import number
from ptycho_torch.runtime.templates import render

Row = Mapping[str, Any]
MOST_BLOCKS = 64
"""Deeper networks are not tried."""


def plan_text(plan: Row) -> str:
    """Return an estimate as text."""
    table = _table([_cells(row) for row in plan["arms"]])
    short = [f"{row['arm']} on {row['dataset']}" for row in plan["arms"] if not row["seconds"]]
    words = {"table": table, "libraries": _base(plan), "short": short, "duration": duration}
    return render("train.cost", "plan.md.j2", **plan, **words).rstrip()


def comparison_text(found: Row) -> str:
    """Return predictions beside what happened."""
    rows = []
    for row in found["arms"]:
        cells = {"dataset": row["dataset"], "arm": row["arm"], "runs": str(row["runs"])}
        for what, pair in (("memory, MiB", row["memory_mib"]), ("time, s", row["wall_s"])):
            predicted, measured = pair["predicted"], pair["measured"]
            known = predicted is not None
            cells[f"{what}: predicted"] = number(predicted) if known else "not timed"
            cells[f"{what}: measured"] = number(measured)
            cells[f"{what}: ratio"] = number(predicted / measured) if known else ""
        rows.append(cells)
    left_out = [f"Not compared: {text}" for text in found["left_out"]]
    measured = f"\nMeasured: medians over runs, of timing.json. {_base(found)}"
    return "\n".join([_table(rows), measured, *left_out])


def duration(seconds: float | None) -> str:
    """Return a time as people say it."""
    if seconds is None:
        return "not timed"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{number(seconds / size, 2)} {unit}"
    return f"{number(seconds, 2)} s"


def _table(rows: list[dict[str, str]]) -> str:
    return tabulate(rows, "keys", "github", disable_numparse=True)


def _cells(row: Row) -> dict[str, str]:
    seconds, run = row["seconds"] or {}, row["settings"]
    stored, full = row["parameters"]["stored"], row["parameters"]["full"]
    return {
        "dataset": row["dataset"],
        "arm": row["arm"],
        "N": str(run["patch_px"]),
        "C": str(row["channels"]),
        "batch": str(run["training"]["batch_size"]),
        "blocks": str(run["generator"]["fno_blocks"]),
        "parameters": f"{number(stored / 1e6)} M ({number(full / 1e6)} M)",
        "GFLOP/step": number(row["flops_per_step"] / 1e9),
        "memory, MiB": f"{row['memory_mib']['peak']:,.0f}",
        "step, s": number(seconds["step"], 2) if seconds else "not timed",
        "epoch": duration(seconds.get("epoch")),
        "run": duration(seconds.get("run")),
        "most groups a step": _largest(row["largest_batch"], row["groups"]["train"]),
        "most blocks": _largest(row["largest_fno_blocks"], MOST_BLOCKS),
    }


def _largest(found: int | None, most: int) -> str:
    if not found:
        return "not requested" if found is None else "none fits"
    return f"{found} (all)" if found == most else str(found)


def _base(plan: Row) -> str:
    return f"{plan['base']['memory_mib']:,.0f} MiB are interpreter and libraries."
