"""The logger plugin: targets after lists of NAME=VALUE, and what the terminal says of a study."""

import json
from datetime import datetime, timedelta

import pytest

from snakemake_logger_plugin_ptycho import targets_first
from snakemake_logger_plugin_ptycho.progress import StudyProgress


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("--cores 4 --resources gpu=1 all", "all --cores 4 --resources gpu=1"),
        ("--configfile a.yaml b.yml results/x.json", "results/x.json --configfile a.yaml b.yml"),
        ("--config seeds=3 a b -n", "a b --config seeds=3 -n"),
        ("a --cores 4 --resources gpu=1", "a --cores 4 --resources gpu=1"),
        ("--resources gpu=1 -- a", "--resources gpu=1 -- a"),
        # As Snakemake starts its jobs on a cluster.
        *[("x --default-resources base64//bWVt --mode remote",) * 2],
    ],
)
def test_targets_end_a_list_of_values(typed, read):
    assert targets_first(typed.split()) == read.split()


def job(jobid, rule="train", outputs=(), **wildcards):
    return {"jobid": jobid, "rule_name": rule, "wildcards": wildcards, "output": list(outputs)}


def test_runs_are_counted_and_the_end_is_expected(tmp_path):
    def run_json(outcome):
        (tmp_path / outcome).mkdir()
        (tmp_path / outcome / "run.json").write_text(json.dumps({"outcome": outcome}))
        return [str(tmp_path / outcome / "run.json")]

    progress = StudyProgress()
    progress.planned({"train": 2, "total": 2})
    progress.started(job(1, outputs=run_json("completed"), arm="a", seed="0"), now=0)
    assert "ends about" not in progress.line()
    assert progress.finished(1, now=10) == "train a/0: completed"
    progress.started(job(2, outputs=run_json("exploded"), arm="a", seed="1"), now=10)
    soon = datetime.now() + timedelta(seconds=10)
    assert "1 done (0 of them diverged), 1 running, 0 to come" in progress.line()
    ends = {f"{soon + timedelta(seconds=late):%H:%M:%S}" for late in range(5)}
    assert progress.line().rsplit(" ", 1)[1] in ends
    progress.finished(2, now=20)
    progress.started(job(3, arm="a", seed="2"), now=20)  # One that a checkpoint added.
    assert progress.line().startswith("2 of 3 jobs | runs: 2 done (1 of them diverged), 1 running")
