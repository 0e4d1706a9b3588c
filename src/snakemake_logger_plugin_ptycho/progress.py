"""The study's progress on the terminal: runs done, running, failed, the epochs of those that train,
the expected end, and what to read; a dry run in one screen: what would run, and why."""

import json
import re
import sys
import textwrap
import threading
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
# As `train.callbacks` logs it.
_EPOCH = re.compile(r"seed (\d+), epoch (\d+)/(\d+): .*?(\w+_val_loss [^,]+),")
_LOOK_EVERY_S = 10.0
_TO_READ = ("summary.md", "decision.md", "parity.md", "index.html")
_STOPPED = "Terminating processes on user request"
# In the progress lines instead, or of no use without the job's block.
_REPLACED = (
    *(LogEvent.JOB_INFO, LogEvent.JOB_STARTED, LogEvent.JOB_FINISHED, LogEvent.PROGRESS),
    *(LogEvent.SHELLCMD, LogEvent.WORKFLOW_STARTED),
)
_CHATTER = (
    *("Select jobs to execute...", "Singularity containers: ignored"),
    *("Reasons:", "DAG of jobs will be updated"),  # Each line of a dry run has its reason.
)


def rule_and_seeds(name: str, seed: str = "") -> tuple[str, list[int]]:
    """Return what a job does and for which seeds; of several its rule is called train_0_1_2."""
    rule = re.sub(r"(_\d+)+$", "", name)
    return rule, [int(number) for number in re.findall(r"\d+", name[len(rule) :] or seed)]


class Job:
    """A job that begins, or that a dry run plans; share: how many of its runs are done."""

    def __init__(self, record: Any, now: float) -> None:
        wildcards = {name: str(value) for name, value in dict(record.wildcards or {}).items()}
        self.rule, self.seeds = rule_and_seeds(record.rule_name, wildcards.pop("seed", ""))
        self.place = "/".join(wildcards.values())
        which = "/".join(filter(None, [self.place, spans(self.seeds)]))
        self.name = f"{self.rule} {which}".rstrip()
        # What is missing follows from the job's name, and the parts behind a `;` from the first.
        first = " ".join(str(record.reason).split()).split("; ")[0]
        known = re.match("Missing output files|Input files updated by another job", first)
        self.reason = known[0] if known else textwrap.shorten(first, 90)
        self.outputs = [Path(path) for path in record.output or ()]
        self.log = Path(next(iter(record.log or ()), ""))
        self.since, self.share = now, 0.0


def dry_run_lines(jobs: Iterable[Job]) -> list[str]:
    """Return a line per arm and reason, with all its seeds and rules."""
    seeds: defaultdict[tuple[str, str, str], list[int]] = defaultdict(list)
    for job in jobs:
        seeds[job.place, job.reason, job.rule] += job.seeds
    rules: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for (place, reason, rule), found in seeds.items():
        which = f"seed{'s' if len(found) > 1 else ''} {spans(sorted(found))}" if found else ""
        rules[place, reason, which].append(rule)
    return [
        f"{' '.join(filter(None, [', '.join(named), place, which])):<58} {reason}"
        # What has no arm stays in its order, behind the arms.
        for (place, reason, which), named in sorted(rules.items(), key=lambda x: x[0][0] or "~")
    ]


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
    running: dict[int, Job] = field(default_factory=dict)
    to_read: list[str] = field(default_factory=list)

    def planned(self, stats: dict[str, int]) -> None:
        """Take the number of jobs per rule."""
        self.total_jobs = stats["total"]
        rules = ((n, *rule_and_seeds(name)) for name, n in stats.items())
        self.total_runs = sum(n * max(len(seeds), 1) for n, rule, seeds in rules if rule == TRAIN)

    def finished(self, jobid: int, now: float) -> str:
        """Note that a job ended well; return its name and, for runs, their outcomes."""
        self.done_jobs += 1
        job = self.running.pop(jobid, None)
        if job is None:
            return "a job"
        self.to_read += [str(path) for path in job.outputs if path.name in _TO_READ]
        if job.rule != TRAIN:
            return job.name
        records = [path for path in job.outputs if path.name == "run.json"]
        outcomes = [json.loads(path.read_text(encoding="utf-8"))["outcome"] for path in records]
        self.training_s += now - job.since
        self.outcomes += outcomes
        return f"{job.name}: {', '.join(outcomes)}"

    def _training(self) -> list[Job]:
        # Asked for by a thread of its own, too.
        return [job for job in list(self.running.values()) if job.rule == TRAIN]

    def epochs(self) -> str:
        """Look into the logs of the runs that train, and return how far each is."""
        words = []
        for job in self._training():
            # Until the job writes, an earlier attempt's log may lie there.
            if not job.log.is_file() or job.log.stat().st_mtime < job.since:
                continue
            if found := _EPOCH.findall(job.log.read_text(encoding="utf-8", errors="replace")):
                seed, epoch, last, loss = found[-1]
                job.share = job.seeds.index(int(seed)) + int(epoch) / int(last)
                words.append(f"{job.name}: seed {seed}, epoch {epoch}/{last}, {loss}")
        return "; ".join(words)

    def line(self, now: float) -> str:
        """Return the state of the study in one line."""
        jobs, done = self._training(), len(self.outcomes)
        runs = sum(len(job.seeds) for job in jobs)
        # Behind a checkpoint there is more to do than was planned.
        total_jobs = max(self.total_jobs, self.done_jobs + len(self.running))
        total_runs = max(self.total_runs, done + runs)
        words = [f"{self.done_jobs} of {total_jobs} jobs"]
        if total_runs:
            diverged = sum(outcome != "completed" for outcome in self.outcomes)
            words.append(
                f"runs: {done} done ({diverged} of them diverged), {runs} running, "
                f"{total_runs - done - runs} to come"
            )
        # Runs as far as they are, and what they took.
        made = done + sum(job.share for job in jobs)
        if made and (to_come := total_runs - made) > 0:
            spent = self.training_s + sum(now - job.since for job in jobs if job.share)
            left = timedelta(seconds=to_come * spent / made / max(len(jobs), 1))
            words.append(f"training ends about {datetime.now() + left:%H:%M:%S}")
        if self.done_jobs == total_jobs and self.to_read:
            words.append(f"read {', '.join(self.to_read)}")
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
        self.planned: list[Job] = []  # jobs of a dry run
        self.stopped = False
        self._printed = time.time()
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        """Print how far the trainings are, while nothing else is printed."""
        before = ""
        while True:
            time.sleep(_LOOK_EVERY_S)
            text, now = self.progress.epochs(), time.time()
            if text != before and now - self._printed >= _LOOK_EVERY_S:
                before = text
                self._print(f"[{datetime.now():%H:%M:%S}] {text} | {self.progress.line(now)}")

    def emit(self, record: LogRecord) -> None:
        """Print one of Snakemake's records."""
        try:
            text = None if self.common_settings.verbose else self._follow(record)
            self._print(self.format(record) if text is None else text)
        except Exception:
            self.handleError(record)

    def _follow(self, record: Any) -> str | None:
        """Note an event; return what is printed in its place, None: the record itself."""
        event, now, text = getattr(record, "event", None), time.time(), ""
        if str(record.msg).startswith(_STOPPED):
            self.stopped = True
            return "stopped: the same command goes on from here"
        if self.stopped:
            return ""  # That each job was interrupted is no news.
        if event == LogEvent.RUN_INFO:
            self.progress.planned(record.stats)
            if self.common_settings.dryrun:
                if not self.planned:
                    return ""  # The same table comes again behind the jobs.
                self._print("\n".join([*dry_run_lines(self.planned), ""]))
                self.planned.clear()
        elif event == LogEvent.JOB_INFO:  # JOB_STARTED comes before it
            job = Job(record, now)
            if self.common_settings.dryrun:
                self.planned.append(job)
                return ""
            self.progress.running[record.jobid] = job
            text = f"begins: {job.name}"
        elif event == LogEvent.JOB_FINISHED:
            name = self.progress.finished(record.job_id, now)
            text = f"done: {name} | {self.progress.line(now)}"
        elif event == LogEvent.JOB_ERROR:
            self.progress.running.pop(record.jobid, None)
        if event in _REPLACED or str(record.msg).startswith(_CHATTER):
            return f"[{datetime.now():%H:%M:%S}] {text}" if text else ""
        return None

    def _print(self, text: str) -> None:
        if text:
            stream = sys.stdout if self.common_settings.stdout else sys.stderr
            print(text, file=stream, flush=True)
            self._printed = time.time()
