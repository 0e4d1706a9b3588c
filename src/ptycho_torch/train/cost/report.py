"""A plan, and a comparison, as tables to be read."""

from collections.abc import Mapping, Sequence
from typing import Any

from ptycho_torch.runtime.markdown import number, plural

Row = Mapping[str, Any]

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def plan_text(plan: Row) -> str:
    """Return what a plan says; arms that take the same share a line."""
    header = [
        *("dataset", "arm", "N", "C", "batch", "blocks", "parameters", "GFLOP/step"),
        *("memory, MiB", "step, s", "epoch", "run", "most groups a step", "most blocks"),
    ]
    alike: dict[tuple[str, ...], list[str]] = {}
    for row in plan["arms"]:
        dataset, arm, *others = _cells(row)
        alike.setdefault((dataset, *others), []).append(arm)
    rows = [[key[0], _named(arms), *key[1:]] for key, arms in alike.items()]
    lines = [aligned(header, rows), "", *_conditions(plan)]
    if "stages" in plan:
        lines += ["", *map(_stage_line, plan["stages"]), _study_line(plan)]
    return "\n".join(lines)


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns stand one below the other in a terminal as well."""
    table = [header, *rows]
    widths = [max(len(row[place]) for row in table) for place in range(len(header))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in table]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def comparison_text(found: Row) -> str:
    """Return predictions beside what happened."""
    header = [
        *("dataset", "arm", "runs", "memory predicted, MiB", "measured", "predicted / measured"),
        *("time predicted, s", "measured", "predicted / measured"),
    ]
    rows = [
        [
            row["dataset"], row["arm"], str(row["runs"]),
            *_pair(row["memory_mib"]), *_pair(row["wall_s"]),
        ]
        for row in found["arms"]
    ]  # fmt: skip
    lines = [
        aligned(header, rows),
        "",
        f"Measured: medians over runs, of timing.json. {_base(found)}",
        *(f"Not compared: {text}" for text in found["left_out"]),
        *(f"Not counted: {text}" for text in found["not_counted"]),
    ]
    return "\n".join(lines)


def duration(seconds: float | None) -> str:
    """Return a time as people say it."""
    if seconds is None:
        return "not timed"
    for unit, size in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= 2 * size:
            return f"{number(seconds / size, 2)} {unit}"
    return f"{number(seconds, 2)} s"


def _cells(row: Row) -> list[str]:
    seconds = row["seconds"] or {}
    stored, full = row["parameters"]["stored"], row["parameters"]["full"]
    return [
        row["dataset"],
        row["arm"],
        str(row["patch_px"]),
        str(row["channels"]),
        str(row["batch_size"]),
        str(row["generator"]["fno_blocks"]),
        f"{number(stored / 1e6)} M ({number(full / 1e6)} M)",
        number(row["flops_per_step"] / 1e9),
        f"{row['memory_mib']['peak']:,.0f}",
        number(seconds.get("step"), 2) if seconds else "not timed",
        duration(seconds.get("epoch")),
        duration(seconds.get("run")),
        _largest(row["largest_batch"], row["groups"]["train"]),
        _largest(row["largest_fno_blocks"], row["most_fno_blocks"]),
    ]


def _largest(found: int | None, most: int) -> str:
    if found is None:
        return "not asked"
    if found == 0:
        return "none fits"
    return f"{found} (all)" if found == most else str(found)


def _named(arms: Sequence[str]) -> str:
    return arms[0] if len(arms) == 1 else f"{arms[0]} and {plural(len(arms) - 1, 'other')}"


def _conditions(plan: Row) -> list[str]:
    machine = plan["machine"]
    memory = "what torch allocates on the GPU" if machine["gpu"] else _base(plan)
    lines = [
        "Parameters: stored (with modes that small frames do not have); a complex one counts once.",
        f"Memory: the largest of a job; {memory}",
        f"Most groups a step, most blocks: what {plan['memory_gib']:g} GiB hold; docs/plan.md says "
        "how sure that is.",
    ]
    if plan["probe_steps"]:
        lines.append(
            f"Times: median of {plural(plan['probe_steps'], 'step')} on {machine['device']}, "
            f"{plural(machine['threads'], 'thread')}, one run at a time; not timed: does not fit."
        )
    return [*lines, *(f"Not counted: {text}" for text in plan["not_counted"])]


def _base(plan: Row) -> str:
    return f"{plan['base']['memory_mib']:,.0f} MiB are interpreter and libraries."


def _stage_line(row: Row) -> str:
    new = "" if row["new_runs"] == row["runs"] else f", {row['new_runs']} of them new"
    return f"{row['stage']}: {plural(row['runs'], 'run')}{new}, {duration(row['seconds'])}"


def _study_line(plan: Row) -> str:
    whole = plan["study"]
    return (
        f"study: at most {plural(whole['runs'], 'run')}, {duration(whole['seconds'])}, "
        f"{plan['runs_at_once']} at once"
    )


def _pair(values: Row) -> list[str]:
    predicted, measured = values["predicted"], values["measured"]
    ratio = None if predicted is None else predicted / measured
    return [
        "not timed" if predicted is None else number(predicted),
        number(measured),
        "" if ratio is None else number(ratio),
    ]
