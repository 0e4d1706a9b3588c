"""The study's progress on the terminal: runs done, running, failed, and the expected end; a dry
run in one screen: what would run, and why."""

import json
import re
import sys
import textwrap
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from logging import LogRecord
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

TRAIN = "train"
# Of several seeds: their rule is called train_0_1_2.
_SEEDS = re.compile(r"(train|evaluate)((?:_\d+)+)")
# In the progress lines instead, or of no use without the job's block.
_REPLACED = (
    *(LogEvent.JOB_INFO, LogEvent.JOB_STARTED, LogEvent.JOB_FINISHED, LogEvent.PROGRESS),
    *(LogEvent.SHELLCMD, LogEvent.WORKFLOW_STARTED),
)
_CHATTER = (
    *("Select jobs to execute...", "Singularity containers: ignored"),
    *("Reasons:", "DAG of jobs will be updated"),  # Each line of a dry run has its reason.
)


def rule_and_seeds(job: dict[str, Any]) -> tuple[str, list[int]]:
    """Return what a job does and for which seeds; none where it is not of single runs."""
    name, seed = str(job["rule_name"]), dict(job.get("wildcards") or {}).get("seed")
    if several := _SEEDS.fullmatch(name):
        return several[1], [int(seed) for seed in several[2].split("_")[1:]]
    return name, [] if seed is None else [int(seed)]


def job_name(job: dict[str, Any]) -> str:
    """Return a job's rule and what tells it from its sisters, such as `train triangle/agc/0`."""
    (rule, seeds), wildcards = rule_and_seeds(job), dict(job.get("wildcards") or {})
    wildcards |= {"seed": spans(seeds)} if seeds else {}
    return f"{rule} {'/'.join(map(str, wildcards.values()))}".rstrip()


def short_reason(job: dict[str, Any]) -> str:
    """Return why a job would run, in a few words."""
    # What is missing follows from the job's name, and the parts behind a `;` from the first.
    first = " ".join(str(job.get("reason", "")).split()).split("; ")[0]
    words = {
        "Input files updated by another": "after the jobs above",
        "Missing out": "not made yet",
    }
    known = (said for start, said in words.items() if first.startswith(start))
    return next(known, textwrap.shorten(first, 90, placeholder="..."))


def dry_run_lines(jobs: Iterable[dict[str, Any]]) -> list[str]:
    """Return a line per arm and reason, arm by arm: jobs that differ in their seed alone or their
    rule alone are in one."""
    seeds: defaultdict[tuple[str, str, str], list[int]] = defaultdict(list)
    for job in jobs:
        wildcards = dict(job.get("wildcards") or {})
        wildcards.pop("seed", None)
        rule, found = rule_and_seeds(job)
        seeds["/".join(map(str, wildcards.values())), rule, short_reason(job)] += found
    rules: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    # What has no arm stays in its order, behind the arms.
    for place, rule, reason in sorted(seeds, key=lambda key: (not key[0], key[0])):
        found = seeds[place, rule, reason]
        which = f"seed{'s' if len(found) > 1 else ''} {spans(sorted(found))}" if found else rule
        rules[place, which, reason].append(rule)
    lines = []
    for (place, which, reason), named in rules.items():
        words = [", ".join(named), place, which if which not in named else ""]
        lines.append(f"{' '.join(filter(None, words)):<58} {reason}")
    return lines


def spans(numbers: list[int]) -> str:
    """Return rising numbers as people write them: 0-4, 7."""
    # Within a span, a number and its place rise alike.
    runs = groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])
    parts = [[number for _, number in run] for _, run in runs]
    return ", ".join(
        f"{part[0]}-{part[-1]}" if len(part) > 2 else ", ".join(map(str, part)) for part in parts
    )


@dataclass(slots=True)
class StudyProgress:
    """What has happened so far, from Snakemake's events; times in seconds."""

    total_jobs: int = 0
    done_jobs: int = 0
    total_runs: int = 0
    outcomes: list[str] = field(default_factory=list)
    training_s: float = 0.0
    running: dict[int, dict[str, Any]] = field(default_factory=dict)

    def planned(self, stats: dict[str, int]) -> None:
        """Take the number of jobs per rule."""
        jobs = {rule: n for rule, n in stats.items() if rule != "total"}
        self.total_jobs = sum(jobs.values())
        rules = ((n, *rule_and_seeds({"rule_name": rule})) for rule, n in jobs.items())
        self.total_runs = sum(n * max(len(seeds), 1) for n, name, seeds in rules if name == TRAIN)

    def started(self, job: dict[str, Any], now: float) -> str:
        """Note a job; return its name."""
        self.running[job["jobid"]] = {**job, "since": now}
        # Behind a checkpoint there is more to do than was planned.
        self.total_runs = max(self.total_runs, len(self.outcomes) + sum(self._training()))
        self.total_jobs = max(self.total_jobs, self.done_jobs + len(self.running))
        return job_name(job)

    def finished(self, jobid: int, now: float) -> str:
        """Note that a job ended well; return its name and, for runs, their outcomes."""
        self.done_jobs += 1
        job = self.running.pop(jobid, {"rule_name": "a job"})
        if rule_and_seeds(job)[0] != TRAIN:
            return job_name(job)
        records = [path for path in map(Path, job["output"]) if path.name == "run.json"]
        outcomes = [json.loads(path.read_text(encoding="utf-8"))["outcome"] for path in records]
        self.training_s += now - job["since"]
        self.outcomes += outcomes
        return f"{job_name(job)}: {', '.join(outcomes)}"

    def _training(self) -> list[int]:
        """Return how many runs each of the jobs that train has."""
        jobs = map(rule_and_seeds, self.running.values())
        return [len(seeds) for rule, seeds in jobs if rule == TRAIN]

    def line(self) -> str:
        """Return the state of the study in one line."""
        jobs, done = self._training(), len(self.outcomes)
        words = [f"{self.done_jobs} of {self.total_jobs} jobs"]
        if self.total_runs:
            diverged = sum(outcome != "completed" for outcome in self.outcomes)
            words.append(
                f"runs: {done} done ({diverged} of them diverged), {sum(jobs)} running, "
                f"{self.total_runs - done - sum(jobs)} to come"
            )
        if done and (to_come := self.total_runs - done):
            left = timedelta(seconds=to_come * self.training_s / done / max(len(jobs), 1))
            words.append(f"training ends about {datetime.now() + left:%H:%M:%S}")
        return " | ".join(words)


class LogHandler(LogHandlerBase):
    """Progress lines for a study; everything else as Snakemake prints it."""

    # In place of Snakemake's terminal output, with its filter (so that --quiet works) and format.
    writes_to_stream = True
    writes_to_file = False
    has_filter = False
    has_formatter = False
    needs_rulegraph = False

    def __post_init__(self) -> None:
        self.progress = StudyProgress()
        self.planned: list[dict[str, Any]] = []  # jobs of a dry run

    def emit(self, record: LogRecord) -> None:
        """Print one of Snakemake's records."""
        try:
            text = None if self.common_settings.verbose else self._follow(record)
            self._print(self.format(record) if text is None else text)
        except Exception:
            self.handleError(record)

    def _follow(self, record: Any) -> str | None:
        """Note an event; return what is printed in its place, None: the record itself."""
        event, now, text = getattr(record, "event", None), time.monotonic(), ""
        if self.common_settings.dryrun and event == LogEvent.JOB_INFO:
            self.planned.append(record.__dict__)
            return ""
        if self.common_settings.dryrun and event == LogEvent.RUN_INFO:
            if not self.planned:
                return ""  # The same table comes again behind the jobs.
            self._print("\n".join([*dry_run_lines(self.planned), ""]))
            self.planned.clear()
        if event == LogEvent.RUN_INFO:
            self.progress.planned(getattr(record, "stats", {}) or {})
        elif event == LogEvent.JOB_INFO:  # JOB_STARTED comes before it
            keys = ("jobid", "rule_name", "wildcards", "output")
            job = {key: getattr(record, key, None) for key in keys}
            text = f"begins: {self.progress.started(job, now)}"
        elif event == LogEvent.JOB_FINISHED:
            name = self.progress.finished(record.job_id, now)
            text = f"done: {name} | {self.progress.line()}"
        elif event == LogEvent.JOB_ERROR:
            self.progress.running.pop(record.jobid, None)
        if event in _REPLACED or str(record.msg).startswith(_CHATTER):
            return f"[{datetime.now():%H:%M:%S}] {text}" if text else ""
        return None

    def _print(self, text: str) -> None:
        if text:
            stream = sys.stdout if self.common_settings.stdout else sys.stderr
            print(text, file=stream, flush=True)
