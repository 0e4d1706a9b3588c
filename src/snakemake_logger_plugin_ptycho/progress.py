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
    if first.startswith("Input files updated by another job"):
        return "after the jobs above"
    if first.startswith("Missing output files"):
        return "not made yet"
    return textwrap.shorten(first, 90, placeholder="...")


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
        found = spans(sorted(seeds[place, rule, reason]))
        rules[place, f"seeds {found}" if found else rule, reason].append(rule)
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
    done_runs: int = 0
    diverged_runs: int = 0
    training_s: float = 0.0
    running: dict[int, dict[str, Any]] = field(default_factory=dict)

    def planned(self, stats: dict[str, int]) -> None:
        """Take the number of jobs per rule."""
        self.total_jobs = sum(n for rule, n in stats.items() if rule != "total")
        rules = {rule: rule_and_seeds({"rule_name": rule}) for rule in stats}
        self.total_runs = sum(
            stats[rule] * max(len(seeds), 1)
            for rule, (name, seeds) in rules.items()
            if name == TRAIN
        )

    def started(self, job: dict[str, Any], now: float) -> str:
        """Note a job; return its name."""
        self.running[job["jobid"]] = {**job, "since": now}
        # Behind a checkpoint there is more to do than was planned.
        self.total_runs = max(self.total_runs, self.done_runs + sum(self._training().values()))
        self.total_jobs = max(self.total_jobs, self.done_jobs + len(self.running))
        return job_name(job)

    def finished(self, jobid: int, now: float) -> str:
        """Note that a job ended well; return its name and, for runs, their outcomes."""
        self.done_jobs += 1
        job = self.running.pop(jobid, {"rule_name": "a job"})
        rule, seeds = rule_and_seeds(job)
        if rule != TRAIN:
            return job_name(job)
        records = [path for path in map(Path, job["output"]) if path.name == "run.json"]
        outcomes = [
            str(json.loads(path.read_text(encoding="utf-8"))["outcome"]) for path in records
        ]
        self.training_s += now - job["since"]
        self.done_runs += len(seeds)
        self.diverged_runs += sum(outcome != "completed" for outcome in outcomes)
        return f"{job_name(job)}: {', '.join(outcomes)}"

    def _training(self) -> dict[int, int]:
        """Return how many runs each job that trains has, by its number."""
        jobs = {jobid: rule_and_seeds(job) for jobid, job in self.running.items()}
        return {jobid: len(seeds) for jobid, (rule, seeds) in jobs.items() if rule == TRAIN}

    def line(self, now: float) -> str:
        """Return the state of the study in one line."""
        training = sum(self._training().values())
        words = [f"{self.done_jobs} of {self.total_jobs} jobs"]
        if self.total_runs:
            words.append(
                f"runs: {self.done_runs} done ({self.diverged_runs} of them diverged), "
                f"{training} running, {self.total_runs - self.done_runs - training} to come"
            )
        if (left := self.seconds_left(now)) is not None:
            words.append(f"training ends about {datetime.now() + timedelta(seconds=left):%H:%M:%S}")
        return " | ".join(words)

    def seconds_left(self, now: float) -> float | None:
        """Return the expected time to the last run's end; None before a run has ended."""
        to_come, jobs = self.total_runs - self.done_runs, self._training()
        if not self.done_runs or to_come <= 0:
            return None
        work = to_come * self.training_s / self.done_runs
        spent = sum(now - self.running[jobid]["since"] for jobid in jobs)
        return max(work - spent, 0.0) / max(len(jobs), 1)


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
            event, dry_run = getattr(record, "event", None), self.common_settings.dryrun
            if not self.common_settings.verbose:
                if dry_run and event == LogEvent.JOB_INFO:
                    self.planned.append(record.__dict__)
                    return
                if dry_run and event == LogEvent.RUN_INFO:
                    if not self.planned:
                        return  # The same table comes again behind the jobs.
                    self._print("\n".join([*dry_run_lines(self.planned), ""]))
                    self.planned.clear()
                self._follow(event, record)
                if event in _REPLACED or str(record.msg).startswith(_CHATTER):
                    return
            self._print(self.format(record))
        except Exception:
            self.handleError(record)

    def _follow(self, event: LogEvent | None, record: Any) -> None:
        now, text = time.monotonic(), None
        if event == LogEvent.RUN_INFO:
            self.progress.planned(getattr(record, "stats", {}) or {})
        elif event == LogEvent.JOB_INFO:  # JOB_STARTED comes before it
            keys = ("jobid", "rule_name", "wildcards", "output")
            job = {key: getattr(record, key, None) for key in keys}
            text = f"begins: {self.progress.started(job, now)}"
        elif event == LogEvent.JOB_FINISHED:
            name = self.progress.finished(record.job_id, now)
            text = f"done: {name} | {self.progress.line(now)}"
        elif event == LogEvent.JOB_ERROR:
            self.progress.running.pop(record.jobid, None)
        if text:
            self._print(f"[{datetime.now():%H:%M:%S}] {text}")

    def _print(self, text: str) -> None:
        if text:
            stream = sys.stdout if self.common_settings.stdout else sys.stderr
            print(text, file=stream, flush=True)
