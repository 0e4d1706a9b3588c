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
# Of several seeds: their rule is called train_0_1_2.
_SEEDS = re.compile(r"(train|evaluate)((?:_\d+)+)")
# As `train.history` logs it.
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
    to_read: list[str] = field(default_factory=list)

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
        self.total_runs = max(self.total_runs, len(self.outcomes) + self._running_runs())
        self.total_jobs = max(self.total_jobs, self.done_jobs + len(self.running))
        return job_name(job)

    def finished(self, jobid: int, now: float) -> str:
        """Note that a job ended well; return its name and, for runs, their outcomes."""
        self.done_jobs += 1
        job = self.running.pop(jobid, {"rule_name": "a job", "output": []})
        self.to_read += [path for path in map(str, job["output"]) if path.endswith(_TO_READ)]
        if rule_and_seeds(job)[0] != TRAIN:
            return job_name(job)
        records = [path for path in map(Path, job["output"]) if path.name == "run.json"]
        outcomes = [json.loads(path.read_text(encoding="utf-8"))["outcome"] for path in records]
        self.training_s += now - job["since"]
        self.outcomes += outcomes
        return f"{job_name(job)}: {', '.join(outcomes)}"

    def _training(self) -> list[dict[str, Any]]:
        """Return the jobs that train."""
        jobs = list(self.running.values())  # Asked for by a thread of its own, too.
        return [job for job in jobs if rule_and_seeds(job)[0] == TRAIN]

    def _running_runs(self) -> int:
        """Return how many runs they have: a job trains one or several seeds."""
        return sum(max(len(rule_and_seeds(job)[1]), 1) for job in self._training())

    def epochs(self) -> str:
        """Look into the logs of the runs that train, and return how far each is."""
        words = []
        for job in self._training():
            log = Path(str(next(iter(job.get("log") or []), "")))
            # Until the job writes, an earlier attempt's log may lie there.
            if not log.is_file() or log.stat().st_mtime < job["since"]:
                continue
            if found := _EPOCH.findall(log.read_text(encoding="utf-8", errors="replace")):
                seed, epoch, last, loss = found[-1]
                before = rule_and_seeds(job)[1].index(int(seed))
                job["share"] = before + int(epoch) / int(last)
                words.append(f"{job_name(job)}: seed {seed}, epoch {epoch}/{last}, {loss}")
        return "; ".join(words)

    def line(self, now: float) -> str:
        """Return the state of the study in one line."""
        jobs, done, runs = self._training(), len(self.outcomes), self._running_runs()
        words = [f"{self.done_jobs} of {self.total_jobs} jobs"]
        if self.total_runs:
            diverged = sum(outcome != "completed" for outcome in self.outcomes)
            words.append(
                f"runs: {done} done ({diverged} of them diverged), {runs} running, "
                f"{self.total_runs - done - runs} to come"
            )
        # Runs as far as they are, and what they took.
        made = done + sum(job.get("share", 0.0) for job in jobs)
        if made and (to_come := self.total_runs - made) > 0:
            spent = self.training_s + sum(now - job["since"] for job in jobs if "share" in job)
            left = timedelta(seconds=to_come * spent / made / max(len(jobs), 1))
            words.append(f"training ends about {datetime.now() + left:%H:%M:%S}")
        if self.done_jobs == self.total_jobs and self.to_read:
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
        self.planned: list[dict[str, Any]] = []  # jobs of a dry run
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
            keys = ("jobid", "rule_name", "wildcards", "output", "log")
            job = {key: getattr(record, key, None) for key in keys}
            text = f"begins: {self.progress.started(job, now)}"
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
