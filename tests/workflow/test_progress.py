"""The logger plugin: targets after lists of NAME=VALUE, and what the terminal says of a study."""

import json
import time
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest

from snakemake_logger_plugin_ptycho import progress as module
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


def job(now=0, rule="train", outputs=(), log=(), **wildcards):
    words = {"rule_name": rule, "wildcards": wildcards, "output": outputs, "log": log}
    return module.Job(SimpleNamespace(**words, reason=""), now)


def test_runs_are_counted_and_the_end_is_expected(tmp_path):
    def run_json(outcome):
        (tmp_path / outcome).mkdir()
        (tmp_path / outcome / "run.json").write_text(json.dumps({"outcome": outcome}))
        return [str(tmp_path / outcome / "run.json")]

    def ends_in(seconds, now):
        soon = datetime.now() + timedelta(seconds=seconds)
        known = {f"{soon + timedelta(seconds=late):%H:%M:%S}" for late in range(5)}
        return progress.line(now).rpartition("ends about ")[2] in known

    progress = StudyProgress()
    progress.planned({"train": 2, "total": 2})
    progress.running[1] = job(0, outputs=run_json("completed"), arm="a", seed="0")
    assert "ends about" not in progress.line(5)
    assert progress.finished(1, now=10) == "train a/0: completed"
    progress.running[2] = job(10, outputs=run_json("exploded"), arm="a", seed="1")
    assert "1 done (0 of them diverged), 1 running, 0 to come" in progress.line(10)
    assert ends_in(10, now=10)
    progress.finished(2, now=20)
    progress.running[3] = job(20, arm="a", seed="2")  # One that a checkpoint added.
    line = progress.line(20)
    assert line.startswith("2 of 3 jobs | runs: 2 done (1 of them diverged), 1 running")


def test_the_first_epoch_says_when_training_ends(tmp_path):
    """Of two seeds in one job, each of five epochs: the first took 2 s, so nine more take 18 s."""
    log, progress = tmp_path / "seed-0_1.log", StudyProgress()
    progress.planned({"train_0_1": 1, "stage_a_summary": 1, "total": 2})
    progress.running[1] = job(0, "train_0_1", log=[str(log)], arm="a")
    assert not progress.epochs() and "ends about" not in progress.line(1)
    log.write_text(
        "09:00:02 INFO seed 0, epoch 1/5: mae_train_loss 0.3000, mae_val_loss 0.2500, gradient "
        "norm 0.1, clipped 0 %, 2 s, 8 s left\n"
    )
    assert progress.epochs() == "train a/0, 1: seed 0, epoch 1/5, mae_val_loss 0.2500"
    found = datetime.strptime(progress.line(2).rpartition(" ")[2], "%H:%M:%S").time()
    soon = {(datetime.now() + timedelta(seconds=18 + late)).time() for late in range(-1, 5)}
    assert found in {time.replace(microsecond=0) for time in soon}


def test_epochs_are_printed_once_while_nothing_else_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "_LOOK_EVERY_S", 0.1)
    settings = SimpleNamespace(stdout=True, dryrun=False, verbose=False)
    handler, log, said = module.LogHandler(settings, None), tmp_path / "seed-0.log", ""
    log.write_text("INFO seed 0, epoch 2/5: mae_train_loss 1, mae_val_loss 0.5, gradient norm 1\n")
    handler.progress.running[1] = job(0, log=[str(log)], arm="a", seed="0")
    until = time.monotonic() + 30
    while not said and time.monotonic() < until:
        time.sleep(0.5)
        said = capsys.readouterr().out
    (line,) = said.splitlines()
    assert "train a/0: seed 0, epoch 2/5, mae_val_loss 0.5 | 0 of 1 jobs" in line


def test_the_last_line_says_what_to_read():
    progress = StudyProgress()
    progress.planned({"stage_a_summary": 1, "total": 1})
    outputs = [f"results/stage_a/{name}" for name in ("summary.md", "runs.csv")]
    progress.running[1] = job(0, "stage_a_summary", outputs)
    assert "read" not in progress.line(0)
    progress.finished(1, now=1)
    assert progress.line(1).endswith("| read results/stage_a/summary.md")
