"""The study's progress on the terminal: runs done, running, failed, and the expected end."""

import json
import re
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from logging import LogRecord
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_ptycho.plan import Planned, job_name

_TRAIN = re.compile(r"train(?:_(\d+)_seeds_\d+)?")
# Said by the progress lines instead, or of no use without the job's block.
_REPLACED = (
    LogEvent.JOB_INFO,
    LogEvent.JOB_STARTED,
    LogEvent.JOB_FINISHED,
    LogEvent.PROGRESS,
    LogEvent.SHELLCMD,
    LogEvent.WORKFLOW_STARTED,
)
_CHATTER = ("Select jobs to execute...", "Singularity containers: ignored")


@dataclass(slots=True)
class StudyProgress:
    """What has happened so far, from Snakemake's events; times in seconds."""

    total_jobs: int = 0
    done_jobs: int = 0
    total_runs: int = 0
    done_runs: int = 0
    failed_runs: int = 0
    broken_jobs: int = 0
    running: dict[int, dict[str, Any]] = field(default_factory=dict)
    durations: list[float] = field(default_factory=list)

    def planned(self, stats: dict[str, int]) -> None:
        """Take the number of jobs per rule."""
        self.total_jobs = sum(n for rule, n in stats.items() if rule != "total")
        self.total_runs = sum(runs_of(rule) * jobs for rule, jobs in stats.items())

    def started(self, job: dict[str, Any], now: float) -> str:
        """Note a job; return its name."""
        self.running[job["jobid"]] = {**job, "since": now}
        # Behind a checkpoint there is more to do than was planned.
        self.total_runs = max(self.total_runs, self.done_runs + self.training)
        self.total_jobs = max(self.total_jobs, self.done_jobs + len(self.running))
        return job_name(job)

    def finished(self, jobid: int, now: float) -> str:
        """Note that a job ended well; return its name and, for a run, its outcome."""
        self.done_jobs += 1
        job = self.running.pop(jobid, None)
        if job is None:
            return ""
        runs = runs_of(job["rule_name"])
        if not runs:
            return job_name(job)
        self.done_runs += runs
        self.durations += [(now - job["since"]) / runs] * runs
        outcomes = run_outcomes(job["output"])
        self.failed_runs += sum(outcome != "completed" for outcome in outcomes)
        return f"{job_name(job)}: {', '.join(outcomes)}"

    @property
    def training(self) -> int:
        """Runs that are being trained."""
        return sum(runs_of(job["rule_name"]) for job in self.running.values())

    def broken(self, jobid: int) -> None:
        """Note that a job failed, which is a matter of files or the machine."""
        self.running.pop(jobid, None)
        self.broken_jobs += 1

    def line(self, now: float) -> str:
        """Return the state of the study in one line."""
        training = self.training
        words = [f"{self.done_jobs} of {self.total_jobs} jobs"]
        if self.total_runs:
            words.append(
                f"runs: {self.done_runs} done ({self.failed_runs} of them diverged), "
                f"{training} running, {self.total_runs - self.done_runs - training} to come"
            )
        if self.broken_jobs:
            words.append(f"{self.broken_jobs} jobs failed")
        left = self.seconds_left(now)
        if left is not None:
            end = datetime.now() + timedelta(seconds=left)
            words.append(f"training ends about {end:%H:%M:%S}")
        return " | ".join(words)

    def seconds_left(self, now: float) -> float | None:
        """Return the expected time to the last run's end; None before a run has ended."""
        to_come = self.total_runs - self.done_runs
        if not self.durations or to_come <= 0:
            return None
        mean = sum(self.durations) / len(self.durations)
        jobs = [job for job in self.running.values() if runs_of(job["rule_name"])]
        begun = [
            (now - job["since"]) / runs_of(job["rule_name"])
            for job in jobs
            for _ in range(runs_of(job["rule_name"]))
        ]
        work = to_come * mean - sum(min(spent, mean) for spent in begun)
        return work / max(len(jobs), 1)


def runs_of(rule: str) -> int:
    """Return how many runs a job of a rule trains, as the rule's name says; mostly none."""
    found = _TRAIN.fullmatch(rule)
    return int(found[1] or 1) if found else 0


def run_outcomes(outputs: list[str]) -> list[str]:
    """Return how a job's runs ended, as each run.json says; "ended" where that cannot be read."""
    return [_outcome(Path(name)) for name in outputs if Path(name).name == "run.json"] or ["ended"]


def _outcome(record: Path) -> str:
    try:
        return str(json.loads(record.read_text(encoding="utf-8"))["outcome"])
    except (OSError, ValueError, KeyError):
        return "ended"


class LogHandler(LogHandlerBase):
    """Progress lines for a study; everything else as Snakemake prints it."""

    def __post_init__(self) -> None:
        self.progress = StudyProgress()
        self.planned = Planned()

    def emit(self, record: LogRecord) -> None:
        """Print one of Snakemake's records."""
        try:
            event = getattr(record, "event", None)
            if self.common_settings.verbose:
                self._say(self.format(record))
                return
            if self.common_settings.dryrun and self._plan(event, record):
                return
            self._follow(event, record)
            if event not in _REPLACED and record.msg not in _CHATTER:
                self._say(self.format(record))
        except Exception:
            self.handleError(record)

    def _plan(self, event: LogEvent | None, record: LogRecord) -> bool:
        """Take a record of a dry run; return whether it is dealt with."""
        if event == LogEvent.JOB_INFO:
            self.planned.add(record.__dict__)
            return True
        if event == LogEvent.RUN_INFO and not self.planned.seeds:
            return True  # The same table comes again behind the jobs.
        if event == LogEvent.RUN_INFO:
            for line in self.planned.lines():
                self._say(line)
            self._say("")
        # Each line has its reason already.
        return str(record.msg).startswith(("Reasons:", "DAG of jobs will be updated"))

    def _follow(self, event: LogEvent | None, record: LogRecord) -> None:
        now = time.monotonic()
        if event == LogEvent.RUN_INFO:
            self.progress.planned(getattr(record, "stats", {}) or {})
        elif event == LogEvent.JOB_INFO:  # said as the job begins; JOB_STARTED comes before it
            keys = ("jobid", "rule_name", "wildcards", "output")
            job = {key: getattr(record, key, None) for key in keys}
            self._stamp(f"begins: {self.progress.started(job, now)}")
        elif event == LogEvent.JOB_FINISHED:
            name = self.progress.finished(record.job_id, now)  # type: ignore[attr-defined]
            self._stamp(f"done: {name} | {self.progress.line(now)}")
        elif event == LogEvent.JOB_ERROR:
            self.progress.broken(record.jobid)  # type: ignore[attr-defined]

    def _stamp(self, text: str) -> None:
        self._say(f"[{datetime.now():%H:%M:%S}] {text}")

    def _say(self, text: str) -> None:
        if text:
            stream = sys.stdout if self.common_settings.stdout else sys.stderr
            print(text, file=stream, flush=True)

    @property
    def writes_to_stream(self) -> bool:
        """Takes the place of Snakemake's own terminal output."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """Writes no file; Snakemake keeps its own log."""
        return False

    @property
    def has_filter(self) -> bool:
        """Uses Snakemake's filter, so that --quiet works."""
        return False

    @property
    def has_formatter(self) -> bool:
        """Uses Snakemake's formatter for what it passes on."""
        return False

    @property
    def needs_rulegraph(self) -> bool:
        """Needs no rule graph."""
        return False
