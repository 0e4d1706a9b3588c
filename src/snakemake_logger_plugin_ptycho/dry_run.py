"""A dry run in one screen: what would run, and why, with the seeds of an arm in one line."""

from dataclasses import dataclass, field
from typing import Any


def job_name(job: dict[str, Any]) -> str:
    """Return a job's rule and what tells it from its sisters, such as `train triangle/agc/0`."""
    wildcards = dict(job.get("wildcards") or {})
    return f"{job['rule_name']} {'/'.join(map(str, wildcards.values()))}".rstrip()


def short_reason(job: dict[str, Any]) -> str:
    """Return why a job would run, in a few words."""
    # What is missing follows from the job's name, and the parts behind a `;` from the first.
    first = " ".join(str(job.get("reason", "")).split()).split("; ")[0]
    if first.startswith("Input files updated by another job"):
        return "after the jobs above"
    if first.startswith("Missing output files"):
        return "not made yet"
    return first if len(first) <= 90 else first[:87] + "..."


@dataclass(slots=True)
class DryRun:
    """Jobs of a dry run; those that differ in their seed alone or their rule alone together."""

    seeds: dict[tuple[str, str, str], list[int]] = field(default_factory=dict)
    """(rule, other wildcards, reason) -> seeds; none for jobs without one."""

    def add(self, job: dict[str, Any]) -> None:
        """Take a job."""
        wildcards = dict(job.get("wildcards") or {})
        seed = wildcards.pop("seed", None)
        key = (str(job["rule_name"]), "/".join(map(str, wildcards.values())), short_reason(job))
        self.seeds.setdefault(key, []).extend([] if seed is None else [int(seed)])

    def lines(self) -> list[str]:
        """Return a line per arm and reason, arm by arm; forget them."""
        rules: dict[tuple[str, str, str], list[str]] = {}
        # What has no arm stays in its order, behind the arms.
        for (rule, place, reason), seeds in sorted(
            self.seeds.items(), key=lambda item: (not item[0][1], item[0][1])
        ):
            which = f"seed{'s' if len(seeds) > 1 else ''} {spans(sorted(seeds))}" if seeds else rule
            rules.setdefault((place, which, reason), []).append(rule)
        self.seeds.clear()
        lines = []
        for (place, which, reason), names in rules.items():
            words = [", ".join(names), place, "" if which == names[0] else which]
            lines.append(f"{' '.join(word for word in words if word):<58} {reason}")
        return lines


def spans(numbers: list[int]) -> str:
    """Return rising numbers as people write them: 0-4, 7."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(
        f"{part[0]}-{part[-1]}" if len(part) > 2 else ", ".join(map(str, part)) for part in parts
    )
