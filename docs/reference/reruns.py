"""Which jobs an edit makes out of date: prints docs/reference/reruns.md (`make docs`).

The jobs of a small study are planned in this process, before and after each edit of its
configuration. A job is made again if its settings or the names of its files changed, or if a job
that it needs is; for an edit of the code, if the file is on its list (docs/adr/0010). What
Snakemake then does was seen with it in tests/workflow/test_study.py.
"""

import contextlib
import copy
import io
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from ptycho_torch.runtime.provenance import code_behind

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "ptycho_torch"
SCRIPTS = ROOT / "workflow" / "scripts"
SUFFIXES = (".py", ".html", ".css", ".js")
TARGETS = ("all", "parity", "real_data_summary")

# Keys -> their new values, edited together: what each edit alone makes again is among the jobs.
EDITS: list[dict[str, Any]] = [
    {"title": "another title"},
    {
        "arms.agc.hypothesis": "other words",
        "real_data.measurements.siemens_star.about": "other words",
    },
    {
        "arms.spare": {"hypothesis": "an arm of no stage"},
        "statistics.confidence": 0.9,
        "decision.max_loss_increase": 0.2,
    },
    {"datasets.tiny.photons": 1e8},
    {"generator.width": 6},
    {"execution.threads": 2},
    {"arms.agc.execution.clip.max_ratio": 0.02},
    {"stage_a.seeds": 2},
    {"sweeps.ratios.sweep": {"clip.max_ratio": [0.01, 0.1, 1.0]}},
    {"stage_b.fno_blocks": 4},
    {"conventional.iterations": 4},
    {"evaluation.trim_px": 3},
    {"parity.tolerance": 0.2},
    {"diagnostics.groups": 8},
    {"real_data.measurements.siemens_star.reading.half_pixel": 1},
    {"real_data.rpie.iterations": 31},
    {"real_data.training.epochs": 4},
]


@dataclass(frozen=True)
class Job:
    """One planned job: what decides whether it is made again."""

    rule: str
    script: str
    settings: str
    inputs: frozenset[str]
    outputs: frozenset[str]
    needs: frozenset[str] = frozenset()
    threads: int = field(default=1, compare=False)


def study() -> dict[str, Any]:
    """Return the smallest study, with the measurement of the shipped one."""
    tiny: dict[str, Any] = yaml.safe_load((ROOT / "tests" / "tiny.yaml").read_text())
    shipped = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    # Without Stage B, whose runs no plan knows before Stage A's winner.
    known = {"diagnostics": {"stages": ["stage_a", "ratios", "pivot"]}}
    return tiny | known | {"real_data": shipped["real_data"]}


def edited(settings: dict[str, Any], edit: dict[str, Any]) -> dict[str, Any]:
    """Return a copy with keys, written with dots, at other values."""
    changed = copy.deepcopy(settings)
    for key, value in edit.items():
        *blocks, last = key.split(".")
        block = changed
        for name in blocks:
            block = block.setdefault(name, {})
        block[last] = value
    return changed


def plan(settings: dict[str, Any], folder: Path) -> dict[str, Job]:
    """Return the jobs of a study, all of them, by a file that they make."""
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import (
        ConfigSettings,
        DAGSettings,
        OutputSettings,
        Quietness,
        ResourceSettings,
    )

    path, here = folder / "study.yaml", Path.cwd()
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    try:
        with SnakemakeApi(OutputSettings(quiet={Quietness.ALL}, dryrun=True)) as api:
            workflow = api.workflow(
                resource_settings=ResourceSettings(cores=2),
                config_settings=ConfigSettings(configfiles=[path]),
                snakefile=ROOT / "Snakefile",
                workdir=folder,
            )
            planned = workflow.dag(dag_settings=DAGSettings(targets=set(TARGETS)))
            with contextlib.redirect_stdout(io.StringIO()):
                planned.summary()  # The shortest call that plans and neither runs nor draws.
            graph = workflow._workflow.dag
            return _needed({_made(job): _described(job) for job in graph.jobs if job.rule.script})
    finally:
        os.chdir(here)


def _made(job: Any) -> str:
    return min(map(str, job.output))


def _described(job: Any) -> Job:
    return Job(
        rule=job.rule.name,
        script=Path(job.rule.script).name,
        settings=json.dumps(dict(job.params.items()), sort_keys=True, default=str),
        inputs=frozenset(map(str, job.input)),
        outputs=frozenset(map(str, job.output)),
        threads=job.threads,
    )


def _needed(jobs: dict[str, Job]) -> dict[str, Job]:
    """Add to each job those whose files it reads."""
    maker = {file: name for name, job in jobs.items() for file in job.outputs}
    return {
        name: replace(job, needs=frozenset(maker[file] for file in job.inputs if file in maker))
        for name, job in jobs.items()
    }


def with_what_follows(jobs: dict[str, Job], first: Iterable[str]) -> set[str]:
    """Return these jobs and all that need them, directly or through others."""
    found = set(first)
    while more := {name for name, job in jobs.items() if found & job.needs} - found:
        found |= more
    return found


def after_edit(before: dict[str, Job], after: dict[str, Job]) -> tuple[set[str], set[str]]:
    """Return what is made again, and what is made for the first time."""
    new = set(after) - set(before)
    touched = {name for name in set(after) & set(before) if after[name] != before[name]}
    return with_what_follows(after, touched | new) - new, new


def counted(jobs: dict[str, Job], names: Iterable[str]) -> str:
    """Return rules in the order of a study, with how many of their jobs where not all."""
    of_all = Counter(job.rule for job in jobs.values())
    some = Counter(jobs[name].rule for name in names)
    order = sorted(some, key=lambda rule: (_rank(jobs, rule), rule))
    said = [
        f"{rule}" if some[rule] == of_all[rule] else f"{rule} ({some[rule]} of {of_all[rule]})"
        for rule in order
    ]
    return ", ".join(said) or "nothing"


def _rank(jobs: dict[str, Job], rule: str) -> int:
    """Return how much hangs on a rule, so that what comes first is named first."""
    return -len(with_what_follows(jobs, {n for n, job in jobs.items() if job.rule == rule}))


def configuration_table(base: dict[str, Any], jobs: dict[str, Job], folder: Path) -> str:
    """Return a row for each edit of the configuration."""
    rows = ["| edit | made again | made for the first time |", "|---|---|---|"]
    for edit in EDITS:
        after = plan(edited(base, edit), folder)
        again, new = after_edit(jobs, after)
        keys = ", ".join(f"`{key}`" for key in edit)
        rows.append(f"| {keys} | {counted(after, again)} | {counted(after, new)} |")
    return "\n".join(rows)


def code_table(jobs: dict[str, Job]) -> str:
    """Return a row for each set of rules that files of the package make out of date."""
    of_scripts = {job.script: code_behind(SCRIPTS / job.script, PACKAGE) for job in jobs.values()}
    rules: dict[Path, frozenset[str]] = {}
    for file in sorted(path for path in PACKAGE.rglob("*") if path.suffix in SUFFIXES):
        rules[file] = frozenset(job.rule for job in jobs.values() if file in of_scripts[job.script])
    every = {job.rule for job in jobs.values()}
    rows = ["| file of src/ptycho_torch | run by |", "|---|---|"]
    for these in sorted(set(rules.values()), key=lambda r: (-len(r), sorted(r))):
        files = [f"`{file.relative_to(PACKAGE)}`" for file, by in rules.items() if by == these]
        rows.append(f"| {', '.join(files)} | {_said(jobs, these, every)} |")
    return "\n".join(rows)


def _said(jobs: dict[str, Job], rules: frozenset[str], every: set[str]) -> str:
    if not rules:
        return "no job"
    if rules == every:
        return "every job"
    return ", ".join(sorted(rules, key=lambda rule: (_rank(jobs, rule), rule)))


def following_table(jobs: dict[str, Job]) -> str:
    """Return a row for each rule: what is made again with it."""
    rows = ["| made again | and then |", "|---|---|"]
    rules = {job.rule for job in jobs.values()}
    for rule in sorted(rules, key=lambda rule: (_rank(jobs, rule), rule)):
        own = {name for name, job in jobs.items() if job.rule == rule}
        rows.append(f"| {rule} | {counted(jobs, with_what_follows(jobs, own) - own)} |")
    return "\n".join(rows)


INTRODUCTION = """# What an edit makes again

Written by `make docs` (docs/reference/reruns.py); a test compares. The study is that of
`tests/tiny.yaml` with the measurement of `config/config.yaml` and a plan of all
targets. A job is made again if its settings, the names of its files or its code changed, or if a
file that it reads is made again.
(Of a file below 1 MB that comes out with the same bytes Snakemake sees that nothing changed.)
Stage B's runs are not in these tables, since no plan knows them before Stage A's winner: they
follow the rows of `train` and `evaluate`.

## An edit of the configuration
"""


def text() -> str:
    """Return docs/reference/reruns.md."""
    base = study()
    with tempfile.TemporaryDirectory() as name:
        jobs = plan(base, Path(name))
        edits = configuration_table(base, jobs, Path(name))
    code, follows = code_table(jobs), following_table(jobs)
    parts = (INTRODUCTION, edits, "\n## An edit of the code\n", code)
    return "\n".join((*parts, "\n## What follows\n", follows, ""))


if __name__ == "__main__":
    (ROOT / "docs/reference/reruns.md").write_text(text(), encoding="utf-8")
