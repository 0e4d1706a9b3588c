"""What is planned, word for word as the README says it, and what a user's mistake gets."""

import re

import pytest

JOBS = {"simulate": 1, "train": 8, "evaluate": 8, "stage_a_summary": 1}


def planned(result):
    assert result.returncode == 0, result.stdout + result.stderr
    return {
        rule: int(n)
        for rule, n in re.findall(r"^(\w+) +(\d+)$", result.stdout + result.stderr, re.M)
    }


def said(result):
    return result.stdout + result.stderr


def test_targets_may_follow_resources_as_people_type_them(snakemake):
    """Target after --resources: plain Snakemake ends in a traceback here."""
    result = snakemake("--cores", "4", "--resources", "gpu=1", "stage_a_summary", "-n")
    found = planned(result)
    assert {rule: found[rule] for rule in JOBS} == JOBS


def test_the_full_protocol_is_planned_in_one_dry_run(snakemake):
    result = snakemake(
        "--cores", "4", "--configfile", "config/full.yaml", "stage_a_summary", "--dry-run"
    )
    found = planned(result)
    assert (found["train"], found["evaluate"]) == (20, 20)


def test_a_config_file_replaces_the_default(snakemake, config_file):
    """Laid over the default, the tiny study would train four arms on two datasets."""
    found = planned(
        snakemake("stage_a_summary", "-n", "--cores", "1", "--configfile", config_file())
    )
    assert found["train"] == 2


def test_a_dry_run_says_in_one_line_each_what_would_run(snakemake):
    lines = said(snakemake("stage_a_summary", "-n", "--cores", "4")).splitlines()
    assert sum(line.startswith("train triangle_n32/") for line in lines) == 8
    assert len(lines) < 60


MISTAKES = [
    (
        lambda d: d["training"].update(epoch=3),
        "training: TrainingSettings has no key 'epoch'; did you mean 'epochs'?",
    ),
    (
        lambda d: d["datasets"]["tiny"].update(photons=-1),
        "datasets.tiny.photons: Input should be greater than or equal to 1, got -1",
    ),
    (
        lambda d: d["stage_a"].update(arms=["control", "acg"]),
        "there is no arm 'acg'; did you mean 'agc'?",
    ),
    (lambda d: d["generator"].update(name="hybird"), "generator.name: Input should be 'hybrid'"),
    (lambda d: d["generator"].update(fno_blocks=8, levels=8), "7 halvings of 16 px"),
    (
        lambda d: d["arms"]["agc"]["execution"]["clip"].update(gradient_clip_algorithm="acg"),
        "gradient_clip_algorithm 'acg' is not known",
    ),
    (lambda d: d["datasets"]["tiny"]["scan"].update(train_step_px=99), "leaves one patch a row"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES)
def test_a_mistake_in_the_study_is_one_error_without_a_traceback(
    snakemake, config_file, change, message
):
    path = config_file(change)
    result = snakemake("stage_a_summary", "-n", "--cores", "1", "--configfile", path)
    assert result.returncode != 0
    assert f"{path}: " in said(result) and message in said(result)
    assert "Traceback" not in said(result)


def test_a_mistake_on_the_command_line_is_told_the_same_way(snakemake):
    result = snakemake("stage_a_summary", "-n", "--cores", "1", "--config", "traning=1")
    assert result.returncode != 0
    assert "Study has no key 'traning'; did you mean 'training'?" in said(result)
    assert "Traceback" not in said(result)


def test_single_keys_can_be_changed_on_the_command_line(snakemake):
    """Snakemake hands nested values over as text; numbers and lists must arrive as such."""
    words = ("--config", "stage_a={seeds: [3, 4, 5]}", "training={epochs: 2}")
    assert planned(snakemake("stage_a_summary", "-n", "--cores", "1", *words))["train"] == 12
    wrong = snakemake("stage_a_summary", "-n", "--cores", "1", "--config", "training={epochs: ten}")
    assert (
        "--config (training): training.epochs: Input should be a valid integer, got 'ten'"
        in said(wrong)
    )


def test_without_a_target_stage_a_is_planned(snakemake):
    assert planned(snakemake("-n", "--cores", "4"))["stage_a_summary"] == 1


def test_an_unknown_arm_in_a_path_is_no_traceback(snakemake):
    target = "results/train/triangle_n32/agd/seed-0/run.json"
    result = snakemake(target, "-n", "--cores", "1")
    assert result.returncode != 0
    assert target in said(result) and "Traceback" not in said(result)


def test_the_workflow_passes_snakemakes_own_lint(snakemake):
    result = snakemake("--lint")
    assert result.returncode == 0, said(result)
