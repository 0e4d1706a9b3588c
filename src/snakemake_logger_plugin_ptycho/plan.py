"""A dry run in one screen: what would run, and why, with the seeds of an arm in one line."""

import re
from dataclasses import dataclass, field
from typing import Any

_TOGETHER = re.compile(r"train_\d+_seeds_\d+")
_RUN = re.compile(r"results/train/(.+)/seed-(\d+)/run\.json")


def what_and_seeds(job: dict[str, Any]) -> tuple[str, str, list[str]]:
    """Return a job's rule, its other wildcards as a text, and its seeds, none or more.

    A job that trains several seeds together has no wildcards: its files tell.
    """
    rule = str(job["rule_name"])
    if _TOGETHER.fullmatch(rule):
        runs = [found for name in job.get("output") or [] if (found := _RUN.search(str(name)))]
        if runs:
            return "train", runs[0][1], [run[2] for run in runs]
    wildcards = dict(job.get("wildcards") or {})
    seed = wildcards.pop("seed", None)
    rest = "/".join(str(value) for value in wildcards.values())
    return rule, rest, [] if seed is None else [str(seed)]


def job_name(job: dict[str, Any]) -> str:
    """Return a job's rule and what tells it from its sisters, such as `train triangle/agc/0`."""
    rule, rest, seeds = what_and_seeds(job)
    place = "/".join(part for part in (rest, spans(tuple(seeds))) if part)
    return f"{rule} {place}".rstrip()


def short_reason(job: dict[str, Any]) -> str:
    """Return why a job would run, in a few words."""
    reason = " ".join(str(job.get("reason", "")).split())
    # What is missing follows from the job's name, and the parts behind a `;` from the first.
    first = reason.split("; ")[0]
    if first.startswith("Input files updated by another job"):
        return "after the jobs above"
    first = first.replace("Missing output files: ", "not made yet: ")
    if first.startswith("not made yet"):
        first = "not made yet"
    return first if len(first) <= 90 else first[:87] + "..."


@dataclass(slots=True)
class Planned:
    """Jobs of a dry run, those that differ in their seed alone or their rule alone together."""

    seeds: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)
    """(rule, other wildcards, reason) -> seeds; none for jobs without one."""

    def add(self, job: dict[str, Any]) -> None:
        """Take a job."""
        rule, rest, seeds = what_and_seeds(job)
        self.seeds.setdefault((rule, rest, short_reason(job)), []).extend(seeds)

    def lines(self) -> list[str]:
        """Return a line per arm and reason, in the order of the jobs; forget them."""
        rules: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
        # Arm by arm; what has no seed stays in its order.
        for (rule, rest, reason), seeds in sorted(
            self.seeds.items(), key=lambda item: (not item[0][1], item[0][1])
        ):
            ordered = tuple(sorted(seeds, key=lambda seed: (len(seed), seed)))
            # What has no seed stands alone: two summaries are two lines.
            key = (rest if ordered else f"{rest} {rule}", reason, ordered)
            rules.setdefault(key, []).append(rule)
        self.seeds.clear()
        found = []
        for (rest, reason, ordered), names in rules.items():
            place = rest if ordered else rest.removesuffix(names[0]).strip()
            said = f"seed{'s' if len(ordered) > 1 else ''} {spans(ordered)}" if ordered else ""
            what = " ".join(word for word in (", ".join(names), place, said) if word)
            found.append(f"{what:<58} {reason}")
        return found


def spans(seeds: tuple[str, ...]) -> str:
    """Return seeds as people write them: 0-4, 7."""
    numbers = [int(seed) for seed in seeds]
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(
        f"{part[0]}-{part[-1]}" if len(part) > 2 else ", ".join(map(str, part)) for part in parts
    )
