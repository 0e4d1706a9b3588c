"""What a check found, as a table and as JSON."""

from typing import Any

from ptycho_torch.reconstruct.check.flags import flags
from ptycho_torch.reconstruct.check.run import Report


def table(report: Report) -> list[str]:
    """Return the stages as lines of text; impossible readings are counted, not listed."""
    lines = []
    for stage in report.stages:
        lines.append(f"{stage.question}: {stage.answer}  ({stage.how})")
        said = [flags(found.reading).split(" --") for found in stage.outcomes]
        # What all readings of a stage share would only hide where they differ.
        shared = set.intersection(*(set(words) for words in said)) if said else set()
        for found, words in zip(stage.outcomes, said, strict=True):
            if found.error is not None:
                own = [f"--{w.removeprefix('--')}" for w in words if w and w not in shared]
                lines.append(f"  {found.error:10.4f}  {' '.join(own) or '(nothing else)'}")
        reasons = [found.why for found in stage.outcomes if found.error is None]
        for why in dict.fromkeys(reasons):
            lines.append(f"  impossible  {reasons.count(why)} readings: {why}")
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
