"""The progress view counts runs, tells the diverged, and expects an end."""

import json

import pytest

from snakemake_logger_plugin_ptycho.progress import StudyProgress, dry_run_lines, job_name, spans


def job(jobid, rule="train", outputs=(), **wildcards):
    return {"jobid": jobid, "rule_name": rule, "wildcards": wildcards, "output": list(outputs)}


def test_runs_are_counted_and_the_end_is_expected(tmp_path):
    def run_json(outcome):
        (tmp_path / outcome).mkdir()
        (tmp_path / outcome / "run.json").write_text(json.dumps({"outcome": outcome}))
        return [str(tmp_path / outcome / "run.json")]

    progress = StudyProgress()
    progress.planned({"train": 4, "evaluate": 4, "total": 8})
    progress.started(job(1, outputs=run_json("completed"), arm="a", seed="0"), now=0)
    assert progress.seconds_left(5) is None
    assert progress.finished(1, now=10) == "train a/0: completed"
    progress.started(job(2, outputs=run_json("exploded"), arm="a", seed="1"), now=10)
    assert progress.seconds_left(14) == pytest.approx(3 * 10 - 4)
    assert "1 done (0 of them diverged), 1 running, 2 to come" in progress.line(14)
    progress.finished(2, now=20)
    assert "2 done (1 of them diverged)" in progress.line(20)
    assert progress.line(20).startswith("2 of 8 jobs")


def test_runs_that_a_checkpoint_adds_are_counted():
    progress = StudyProgress()
    progress.planned({"train": 1, "total": 1})
    for jobid in (1, 2):
        progress.started(job(jobid, arm="b", seed=str(jobid)), now=10)
    assert progress.line(10).startswith("0 of 2 jobs | runs: 0 done (0 of them diverged), 2 ")
    assert "2 running, 0 to come" in progress.line(10)


def test_names_and_reasons_are_short():
    record = job(1, arm="agc", seed="0") | {"reason": "Missing output files: a/b/c.json; Input x"}
    assert job_name(record) == "train agc/0"
    assert dry_run_lines([record])[0].split("  ")[-1].strip() == "not made yet"


def test_a_plan_has_one_line_per_arm_and_reason():
    planned = [
        job(seed, rule, dataset="d", arm="agc", seed=str(seed)) | {"reason": "A"}
        for seed in (0, 1, 2, 5)
        for rule in ("train", "evaluate")
    ]
    planned += [
        job(9, "train", dataset="d", arm="agc", seed="11") | {"reason": "B; C"},
        job(10, "stage_a_summary") | {"reason": "D"},
    ]
    lines = [" ".join(line.split()) for line in dry_run_lines(planned)]
    assert lines == [
        "train, evaluate d/agc seeds 0-2, 5 A", "train d/agc seeds 11 B", "stage_a_summary D",
    ]  # fmt: skip
    assert dry_run_lines([]) == [] and spans([3, 4]) == "3, 4"
