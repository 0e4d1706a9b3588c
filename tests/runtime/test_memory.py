"""Want of memory is told from every other failure, says what was needed, and is tried again."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from ptycho_torch import cli
from ptycho_torch.runtime import memory
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.train.module import PtychoModule

CUDA = "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 8 GiB\nof"


def too_much_of_a_gpu():
    raise torch.OutOfMemoryError(CUDA)


def too_much_behind_another_error():
    try:
        torch.empty(2**50, dtype=torch.uint8)
    except RuntimeError as error:
        raise KeyError("weights") from error


@pytest.mark.parametrize(
    ("work", "wanted"),
    [
        (lambda: np.empty(2**60, np.uint8), "Unable to allocate 1.00 EiB for an array with shape"),
        (too_much_of_a_gpu, "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total"),
        (too_much_behind_another_error, "[enforce fail at alloc_cpu.cpp"),
    ],
)
def test_what_could_not_be_had_is_named(work, wanted):
    try:
        work()
    except Exception as error:
        said = memory.explain(error)
    assert said.startswith(f"memory ran out: {wanted}")
    assert "this process had " in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes cannot be multiplied"), OSError(28, "full")]
)
def test_other_errors_are_none_of_its_business(error):
    assert memory.explain(error) is None


@pytest.mark.parametrize(("error", "status"), [(MemoryError(), 12), (InputError("wrong"), 1)])
def test_commands_end_with_one_line_and_a_status_of_its_own(monkeypatch, capsys, error, status):
    def app(*_, **__):
        raise error

    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == status
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and ("memory ran out" in said) == (status != 1)


def test_a_gpu_without_memory_is_no_diverged_run(
    run_script, run_of, tiny_dataset, tmp_path, monkeypatch
):
    monkeypatch.setattr(PtychoModule, "training_loss", lambda *_: too_much_of_a_gpu())
    run = run_of().model_dump(mode="json")
    with pytest.raises(SystemExit) as ended:
        run_script(
            "train.py", params={"run": run}, output={"run": "seed-0/run.json"},
            input={**tiny_dataset.splits, "dataset": tiny_dataset.dataset},
        )  # fmt: skip
    assert ended.value.code == memory.OUT_OF_MEMORY
    log = (tmp_path / "log.txt").read_text()
    assert "ERROR memory ran out: CUDA" in log and "Traceback" not in log
    for cure in ("execution.checkpointing: true", "training.batch_size", "mem_mb"):
        assert cure in log
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "log.txt"]


WORKFLOW = """
rule train:
    output: "done.txt"
    log: "log.txt"
    script: "job.py"
"""
JOB = """
from pathlib import Path
from ptycho_torch.runtime.jobs import granted, run_job

def main(job):
    with Path("attempts.txt").open("a") as said:
        print(*(int(granted(job, name)) for name in ("runtime", "low_memory")), file=said)
    if not granted(job, "low_memory"):
        raise MemoryError
    Path(job.output[0]).touch()

run_job(main, snakemake)
"""


def test_the_default_profile_tries_again_with_more_time_and_less_memory(root, tmp_path):
    (tmp_path / "Snakefile").write_text(WORKFLOW)
    (tmp_path / "job.py").write_text(JOB)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "--workflow-profile",
         root / "profiles/default"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "non-zero exit status 12" in done.stderr
    assert (tmp_path / "attempts.txt").read_text().split("\n") == ["1440 0", "2880 1", ""]
