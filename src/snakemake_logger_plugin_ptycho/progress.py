"""The study's progress on the terminal: runs done, running, failed, and the expected end."""

import json
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from logging import LogRecord
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_ptycho.dry_run import DryRun, job_name

TRAIN = "train"
# In the progress lines instead, or of no use without the job's block.
_REPLACED = (
    *(LogEvent.JOB_INFO, LogEvent.JOB_STARTED, LogEvent.JOB_FINISHED, LogEvent.PROGRESS),
    *(LogEvent.SHELLCMD, LogEvent.WORKFLOW_STARTED),
)
_CHATTER = (
    *("Select jobs to execute...", "Singularity containers: ignored"),
    *("Reasons:", "DAG of jobs will be updated"),  # Each line of a dry run has its reason.
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
        self.total_runs = stats.get(TRAIN, 0)

    def started(self, job: dict[str, Any], now: float) -> str:
        """Note a job; return its name."""
        self.running[job["jobid"]] = {**job, "since": now}
        # Behind a checkpoint there is more to do than was planned.
        self.total_runs = max(self.total_runs, self.done_runs + len(self.since))
        self.total_jobs = max(self.total_jobs, self.done_jobs + len(self.running))
        return job_name(job)

    def finished(self, jobid: int, now: float) -> str:
        """Note that a job ended well; return its name and, for a run, its outcome."""
        self.done_jobs += 1
        job = self.running.pop(jobid, None)
        if job is None or job["rule_name"] != TRAIN:
            return job_name(job) if job else ""
        self.done_runs += 1
        self.training_s += now - job["since"]
        outcome = _outcome(job["output"] or [])
        self.diverged_runs += outcome != "completed"
        return f"{job_name(job)}: {outcome}"

    def failed(self, jobid: int) -> None:
        """Note that a job failed, which is a matter of files or the machine."""
        self.running.pop(jobid, None)
        self.failed_jobs += 1

    @property
    def since(self) -> list[float]:
        """When the runs that are being trained began."""
        return [job["since"] for job in self.running.values() if job["rule_name"] == TRAIN]

    def line(self, now: float) -> str:
        """Return the state of the study in one line."""
        training = len(self.since)
        words = [f"{self.done_jobs} of {self.total_jobs} jobs"]
        if self.total_runs:
            words.append(
                f"runs: {self.done_runs} done ({self.diverged_runs} of them diverged), "
                f"{training} running, {self.total_runs - self.done_runs - training} to come"
            )
        if self.failed_jobs:
            words.append(f"{self.failed_jobs} jobs failed")
        left = self.seconds_left(now)
        if left is not None:
            words.append(f"training ends about {datetime.now() + timedelta(seconds=left):%H:%M:%S}")
        return " | ".join(words)

    def seconds_left(self, now: float) -> float | None:
        """Return the expected time to the last run's end; None before a run has ended."""
        to_come = self.total_runs - self.done_runs
        if not self.done_runs or to_come <= 0:
            return None
        mean = self.training_s / self.done_runs
        work = to_come * mean - sum(min(now - since, mean) for since in self.since)
        return work / max(len(self.since), 1)


def _outcome(outputs: list[str]) -> str:
    """Return how a run ended, as its run.json says; "ended" where that cannot be read."""
    try:
        record = next(name for name in outputs if Path(name).name == "run.json")
        return str(json.loads(Path(record).read_text(encoding="utf-8"))["outcome"])
    except (StopIteration, OSError, ValueError, KeyError):
        return "ended"


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
        self.dry_run = DryRun()

    def emit(self, record: LogRecord) -> None:
        """Print one of Snakemake's records."""
        try:
            event = getattr(record, "event", None)
            if self.common_settings.verbose:
                self._print(self.format(record))
                return
            if self.common_settings.dryrun and event == LogEvent.JOB_INFO:
                self.dry_run.add(record.__dict__)
                return
            if self.common_settings.dryrun and event == LogEvent.RUN_INFO:
                if not self.dry_run.seeds:
                    return  # The same table comes again behind the jobs.
                self._print("\n".join([*self.dry_run.lines(), ""]))
            self._follow(event, record)
            if event not in _REPLACED and not str(record.msg).startswith(_CHATTER):
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
