"""The study's progress on the terminal: runs done, running, failed, and the expected end; a dry
run in one screen: what would run, and why."""

import contextlib
import json
import re
import sys
import time
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
    return first if len(first) <= 90 else first[:87] + "..."


def dry_run_lines(jobs: Iterable[dict[str, Any]]) -> list[str]:
    """Return a line per arm and reason, arm by arm: jobs that differ in their seed alone or their
    rule alone are in one."""
    seeds: dict[tuple[str, str, str], list[int]] = {}
    for job in jobs:
        wildcards = dict(job.get("wildcards") or {})
        wildcards.pop("seed", None)
        rule, found = rule_and_seeds(job)
        key = ("/".join(map(str, wildcards.values())), rule, short_reason(job))
        seeds.setdefault(key, []).extend(found)
    rules: dict[tuple[str, str, str], list[str]] = {}
    # What has no arm stays in its order, behind the arms.
    for key in sorted(seeds, key=lambda key: (not key[0], key[0])):
        (place, rule, reason), found = key, sorted(seeds[key])
        which = f"seed{'s' if len(found) > 1 else ''} {spans(found)}" if found else ""
        rules.setdefault((place, which or rule, reason), []).append(rule)
    lines = []
    for (place, which, reason), named in rules.items():
        words = [", ".join(named), place, "" if which == named[0] else which]
        lines.append(f"{' '.join(word for word in words if word):<58} {reason}")
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
    failed_jobs: int = 0
    running: dict[int, dict[str, Any]] = field(default_factory=dict)
    training_s: float = 0.0

    def planned(self, stats: dict[str, int]) -> None:
        """Take the number of jobs per rule."""
        self.total_jobs = sum(n for rule, n in stats.items() if rule != "total")
        several = {rule: _SEEDS.fullmatch(rule) for rule in stats if rule.startswith(f"{TRAIN}_")}
        self.total_runs = stats.get(TRAIN, 0) + sum(
            stats[rule] * found[2].count("_") for rule, found in several.items() if found
        )

    def started(self, job: dict[str, Any], now: float) -> str:
        """Note a job; return its name."""
        self.running[job["jobid"]] = {**job, "since": now}
        # Behind a checkpoint there is more to do than was planned.
        self.total_runs = max(self.total_runs, self.done_runs + self._training())
        self.total_jobs = max(self.total_jobs, self.done_jobs + len(self.running))
        return job_name(job)

    def finished(self, jobid: int, now: float) -> str:
        """Note that a job ended well; return its name and, for a run, its outcome."""
        self.done_jobs += 1
        job = self.running.pop(jobid, None)
        if job is None or rule_and_seeds(job)[0] != TRAIN:
            return job_name(job) if job else ""
        self.training_s += now - job["since"]
        outcomes = []
        for record in (path for path in map(Path, job["output"]) if path.name == "run.json"):
            outcomes.append("ended")  # Where the run's record cannot be read.
            with contextlib.suppress(OSError, ValueError, KeyError):
                outcomes[-1] = str(json.loads(record.read_text(encoding="utf-8"))["outcome"])
        self.done_runs += len(rule_and_seeds(job)[1])
        self.diverged_runs += sum(outcome != "completed" for outcome in outcomes)
        return f"{job_name(job)}: {', '.join(outcomes) or 'ended'}"

    def failed(self, jobid: int) -> None:
        """Note that a job failed, which is a matter of files or the machine."""
        self.running.pop(jobid, None)
        self.failed_jobs += 1

    def _jobs(self) -> list[dict[str, Any]]:
        """Return the jobs that train."""
        return [job for job in self.running.values() if rule_and_seeds(job)[0] == TRAIN]

    def _training(self) -> int:
        """Return how many runs the jobs that train have."""
        return sum(len(rule_and_seeds(job)[1]) for job in self._jobs())

    def line(self, now: float) -> str:
        """Return the state of the study in one line."""
        training = self._training()
        words = [f"{self.done_jobs} of {self.total_jobs} jobs"]
        if self.total_runs:
            words.append(
                f"runs: {self.done_runs} done ({self.diverged_runs} of them diverged), "
                f"{training} running, {self.total_runs - self.done_runs - training} to come"
            )
        if self.failed_jobs:
            words.append(f"{self.failed_jobs} jobs failed")
        if (left := self.seconds_left(now)) is not None:
            words.append(f"training ends about {datetime.now() + timedelta(seconds=left):%H:%M:%S}")
        return " | ".join(words)

    def seconds_left(self, now: float) -> float | None:
        """Return the expected time to the last run's end; None before a run has ended."""
        to_come, jobs = self.total_runs - self.done_runs, self._jobs()
        if not self.done_runs or to_come <= 0:
            return None
        mean = self.training_s / self.done_runs
        whole = [(job["since"], mean * len(rule_and_seeds(job)[1])) for job in jobs]
        work = to_come * mean - sum(min(now - began, length) for began, length in whole)
        return work / max(len(jobs), 1)


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
            self.progress.failed(record.jobid)
        if text:
            self._print(f"[{datetime.now():%H:%M:%S}] {text}")

    def _print(self, text: str) -> None:
        if text:
            stream = sys.stdout if self.common_settings.stdout else sys.stderr
            print(text, file=stream, flush=True)
