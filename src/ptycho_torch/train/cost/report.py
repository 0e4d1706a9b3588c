"""A cost estimate as a table to be read; the sentences lie in `templates`."""

from collections.abc import Mapping
from typing import Any

from tabulate import tabulate

from ptycho_torch.runtime.markdown import number
from ptycho_torch.runtime.templates import render

Row = Mapping[str, Any]


def plan_text(plan: Row) -> str:
    """Return an estimate as text."""
    alike: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for row in plan["arms"]:
        alike.setdefault(tuple(_cells(row).items()), []).append(row["arm"])
    cells = [
        {"arm": names[0] + (f" and {len(names) - 1} more" if names[1:] else ""), **dict(row)}
        for row, names in alike.items()
    ]
    table = tabulate(cells, "keys", "github", disable_numparse=True)
    short = [f"{row['arm']} on {row['dataset']}" for row in plan["arms"] if not row["seconds"]]
    words = {"table": table, "short": short, "duration": duration}
    return render("train.cost", "plan.md.j2", **plan, **words).rstrip()


def duration(seconds: float | None) -> str:
    """Return a time as people say it."""
    if seconds is None:
        return "not timed"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{number(seconds / size, 2)} {unit}"
    return f"{number(seconds, 2)} s"


def _cells(row: Row) -> dict[str, str]:
    seconds, run = row["seconds"] or {}, row["settings"]
    stored, full = row["parameters"]["stored"], row["parameters"]["full"]
    return {
        "dataset": row["dataset"],
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
    }
