"""What is planned, word for word as the README says it, and what a user's mistake gets.

A dry run takes seconds: what a stage holds is in tests/config/test_plan.py, every mistake of a
study in tests/config/test_read.py, what an edit makes again in docs/reference/reruns.md.
"""

import json
import os
import re
import shutil
from pathlib import Path

import pandas as pd

from ptycho_torch.config.read import load_yaml, parse_study
from ptycho_torch.config.study import run_settings
from ptycho_torch.files import io


def planned(text):
    """Jobs by rule; of trainings and evaluations the runs, however many a job has."""
    found = {}
    for rule, n in re.findall(r"^(\w+) +(\d+)$", text, re.M):
        name, seeds = re.fullmatch(r"(\w+?)((?:_\d+)*)", rule).groups()
        found[name] = found.get(name, 0) + int(n) * max(1, seeds.count("_"))
    return found


def test_all_targets_of_the_default_study_are_planned_a_line_an_arm(snakemake):
    """Targets after --resources, as the README has them: plain Snakemake ends in a traceback."""
    targets = ("all", "crash_hunt_summary", "parity", "diagnostics")
    text = snakemake("--cores", "4", "--resources", "gpu=1", *targets, "-n")
    found = planned(text)
    assert found["train"] == found["evaluate"] == 192
    stages = ("stage_a", "stress", "clip_sweep", "crash_hunt", "stage_b", "pivot", "study")
    once = [*(f"{stage}_summary" for stage in stages), "study_page", "parity", "diagnostics"]
    once += ["diagnose_fresh", "diagnose_runs"]
    assert {rule: found[rule] for rule in once} == dict.fromkeys(once, 1)
    lines = text.splitlines()
    arms = [line for line in lines if line.startswith("train, evaluate triangle_n32/")]
    assert len(arms) == 36 and sum("seeds 0-5" in line for line in arms) == 12
    assert all("Missing output files" in line for line in arms) and len(lines) < 100


def test_a_run_is_of_its_block_alone_and_one_of_no_block_has_a_job_of_its_own(snakemake):
    """Seed 10 begins as one of the block does; two rules for one file were an error."""
    runs = [f"results/evaluate/triangle_n32/norm1/seed-{n}/metrics.json" for n in (1, 5, 10)]
    result = snakemake(*runs, "-n")
    jobs = dict(re.findall(r"^(train\w*) +(\d+)$", result, re.M))
    assert jobs == {"train": "1", "train_0_1_2_3_4_5": "1"}, result


def test_every_job_for_a_queue_asks_for_memory_and_time(snakemake, root):
    """One of several seeds as one of one does."""
    targets = "stage_a_summary crash_hunt_summary parity diagnostics real_data_summary"
    text = snakemake(*targets.split(), "-n", "--verbose", "--workflow-profile", "profiles/slurm")
    asked = dict(re.findall(r"^rule (\w+):$.*?^    resources: ([^\n]*)", text, re.M | re.S))
    queued = re.findall(r'^    "(\w+)",$', (root / "Snakefile").read_text(), re.M)
    assert len(queued) > 8 and set(queued) - asked.keys() == {"train"}  # All have several seeds.
    for rule in asked.keys() & {*queued, "train_0_1_2_3_4_5", "train_0_1_2_3_4"}:
        assert "mem_mb=" in asked[rule] and "runtime=" in asked[rule], rule


def test_the_example_in_the_readme_is_laid_over_the_study(snakemake, root):
    text = (root / "README.md").read_text(encoding="utf-8")
    command = re.search(r"`snakemake (rates_summary .*config/example_more.yaml)`", text).group(1)
    found = planned(snakemake(*command.split(), "-n"))
    # The control, and two rates of the new arm.
    assert found["train"] == 3 * 6 and found["rates_summary"] == 1


def test_mistakes_are_errors_without_a_traceback(snakemake, config_file):
    """Every mistake: tests/config/test_read.py."""
    words = ("stage_a_summary", "-n", "--cores", "1")
    path = config_file(lambda data: data["training"].update(epoch=3))
    for more, message in (
        (
            ("--configfile", path),
            f"{Path(path).name}: training: TrainingSettings has no key 'epoch'; did you",
        ),
        (("--config", "training={epochs: ten}"), "--config (training): training.epochs: Input sho"),
    ):
        text = snakemake(*words, *more, status=1)
        assert message in text and "Traceback" not in text


def test_finished_runs_are_not_replaced_without_a_word(snakemake, tmp_path, root):
    """Values on the command line arrive as numbers and lists, though Snakemake hands them on as
    text; the same study says nothing."""
    study = parse_study(load_yaml(root / "config" / "config.yaml"), "study")
    data, results = study.datasets["triangle_n32"], tmp_path / "results"
    for seed in (0, 1):
        run = run_settings(study, "triangle_n32", "agc", seed).model_dump(mode="json")
        path = results / f"train/triangle_n32/agc/seed-{seed}/run.json"
        path.parent.mkdir(parents=True)
        io.write_json(path, {"settings": run})
    io.write_json(results / "simulate/triangle_n32/dataset.json", {"settings": data.published()})
    plan = ("stage_a_summary", "-n", "--cores", "1")
    assert "finished run" not in snakemake(*plan)
    changed = snakemake(*plan, "--config", "training={epochs: 2}", "stage_a={seeds: [0, 1, 7]}")
    assert planned(changed)["train"] == 12 and "--directory OTHER keeps them" in changed
    assert re.search("2 finished runs .*training.epochs is 8, the study says 2", changed)
    changed = snakemake(*plan, "--config", "datasets={triangle_n32: {photons: 5}}")
    assert re.search("2 finished runs .*photons is .*, the study s", changed)


def test_an_older_source_file_is_planned_again(snakemake, config_file, tiny_dataset, tmp_path):
    """As `cp -p` and `rsync -a` leave it: older than the results, and of the same size."""
    sources = {k: shutil.copy(v, tmp_path / f"{k}.npz") for k, v in tiny_dataset.splits.items()}

    def change(data):
        splits = {split: str(path) for split, path in sources.items()}
        files = {"source": "files", "patch_px": 16, "test_step_px": 4, **splits}
        data["datasets"]["tiny"] = files

    target = "results/simulate/tiny/dataset.json"
    words = (target, "--cores", "1", "--configfile", config_file(change))
    snakemake(*words)
    assert "Nothing to be done" in snakemake(*words, "-n")
    content = bytearray(sources["validation"].read_bytes())
    content[-1] ^= 1  # The last byte of the archive's directory: same size, another content.
    sources["validation"].write_bytes(content)
    os.utime(sources["validation"], (1e9, 1e9))
    assert planned(snakemake(*words, "-n"))["simulate"] == 1


def test_a_look_that_decides_ends_the_stage(snakemake, config_file, tmp_path):
    """And a look that was planned is taken later by the command that the summary prints."""

    def small(study):
        for block in ("stress", "sweeps", "stage_b", "pivot", "decision", "conventional"):
            study.pop(block, None)
        study["training"]["epochs"] = 1
        study["stage_a"]["seeds"] = seeds

    def summary(*more):
        snakemake("stage_a_summary", "--cores", "2", "--configfile", config_file(small), *more)
        return (folder / "summary.md").read_text()

    folder, arms = tmp_path / "results" / "stage_a", {"control", "agc"}
    told = "Seeds were added after a summary"
    seeds = {"looks": [1, 2], "taken": 1}
    text = summary()
    assert "looks planned at 1, 2 seeds" in text and told not in text and "look-1" not in text
    more = ("--config", "stage_a={seeds: {taken: 2}}")
    assert f"stage_a_summary --cores 4 {more[0]} '{more[1]}'" in text
    assert told not in summary(*more)

    def trained():
        runs = pd.read_csv(folder / "runs.csv")
        return {arm: sorted(of["seed"]) for arm, of in runs.groupby("arm")}

    # One run an arm decides nothing: the arm goes on to the second look, and the control with it.
    look = json.loads((folder / "look-1.json").read_text())
    assert look["undecided"] == ["agc"] and trained() == {arm: [0, 1] for arm in arms}
    (folder / "look-1.json").write_text(json.dumps(look | {"undecided": []}))
    summary(*more)
    assert trained() == {arm: [0] for arm in arms}
