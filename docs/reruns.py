"""Which jobs an edit makes out of date: writes docs/reruns.md (`make docs`).

The jobs of the smallest study are planned in this process, before and after each edit of its
configuration; a job is out of date if its settings or the names of its files changed, or if a job
that it depends on is. For edits of the code, a job is out of date if the file is on its list.
"""

import contextlib
import copy
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
TARGETS = frozenset({"all", "parity", "real_data_summary"})
# A reread of the study's words alone; what it says is made anew whatever block is edited.
SUMMARIES = "summaries"


@dataclass(frozen=True)
class Job:
    """One planned job: what decides whether it runs again."""

    rule: str
    script: str | None
    settings: str
    files: tuple[str, ...]
    needs: tuple[str, ...]


def plan(study: dict[str, Any], folder: Path) -> dict[str, Job]:
    """Return the jobs of a study by the first file that they make."""
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import (
        ConfigSettings,
        DAGSettings,
        OutputSettings,
        Quietness,
        ResourceSettings,
    )

    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    here = Path.cwd()
    try:
        with SnakemakeApi(OutputSettings(quiet={Quietness.ALL}, dryrun=True)) as api:
            workflow = api.workflow(
                resource_settings=ResourceSettings(cores=2),
                config_settings=ConfigSettings(configfiles=[path]),
                snakefile=ROOT / "Snakefile",
                workdir=folder,
            )
            dag = workflow.dag(dag_settings=DAGSettings(targets=set(TARGETS)))
            with contextlib.redirect_stdout(io.StringIO()):
                dag.summary()
            graph = workflow._workflow.dag
            return {_name(job): _described(job, graph) for job in graph.jobs if job.rule.script}
    finally:
        os.chdir(here)


def _name(job: Any) -> str:
    return min(map(str, job.output))


def _described(job: Any, graph: Any) -> Job:
    settings = {key: value for key, value in job.params.items()}
    return Job(
        rule=job.rule.name,
        script=Path(job.rule.script).name,
        settings=json.dumps(settings, sort_keys=True, default=str),
        files=(*sorted(map(str, job.input)), *sorted(map(str, job.output))),
        needs=tuple(sorted(_name(other) for other in graph.dependencies[job] if other.output)),
    )
if __name__ == "__main__":
    import time, sys
    sys.path.insert(0, str(ROOT/'src'))
    folder = Path(tempfile.mkdtemp())
    study = yaml.safe_load((ROOT/'tests/tiny.yaml').read_text())
    study['real_data']=yaml.safe_load((ROOT/'config/config.yaml').read_text())['real_data']
    study['real_data']['training']={"epochs": 3, "batch_size": 8}
    study['real_data']['generator']={}
    import resource
    for i in range(5):
        t=time.process_time(); jobs=plan(study, folder); print(time.process_time()-t, len(jobs))
    for k,j in jobs.items(): print(k, j.rule, len(j.settings), j.needs)
