"""What a check found, as a table and as JSON."""

from typing import Any

from ptycho_torch.check.flags import flags, label
from ptycho_torch.check.run import Report


def table(report: Report) -> list[str]:
    """Return the stages as lines of text."""
    lines = []
    for stage in report.stages:
        lines.append(f"{stage.question}: {stage.answer}  ({stage.how})")
        for found in stage.outcomes:
            error = "impossible" if found.error is None else f"{found.error:.4f}"
            lines.append(f"  {error:>10}  {label(found.reading)}  {found.why}".rstrip())
    return lines


def as_json(report: Report) -> dict[str, Any]:
    """Return the report as plain data."""
    return {
        "file": report.source,
        "decided": not report.doubt,
        "doubt": report.doubt or None,
        "reading": report.reading.model_dump(exclude_defaults=True),
        "flags": flags(report.reading),
        "stages": [
            {
                "question": stage.question,
                "how": stage.how,
                "answer": stage.answer,
                "readings": [
                    {"flags": flags(o.reading), "error": o.error, "impossible": o.why or None}
                    for o in stage.outcomes
                ],
            }
            for stage in report.stages
        ],
    }
