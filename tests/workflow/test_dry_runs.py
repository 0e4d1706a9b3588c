"""What is planned, word for word as the README says it, and what a user's mistake gets."""

import re
from itertools import product

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
    lines = said(snakemake("all", "-n", "--cores", "4")).splitlines()
    arms = [line for line in lines if line.startswith("train, evaluate triangle_n32/")]
    assert len(arms) == 14 and all("seeds 0, 1" in line for line in arms)
    assert all("not made yet" in line for line in arms)
    assert len(lines) < 65


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


def test_without_a_target_everything_is_planned(snakemake):
    found = planned(snakemake("-n", "--cores", "4"))
    for rule in ("stage_a_summary", "clip_sweep_summary", "pivot_summary", "study_page"):
        assert found[rule] == 1


# Target -> training jobs that a dry run shows before Stage A's winner is known, small and full.
TARGETS = {
    "stage_a_summary": (8, 20),
    "clip_sweep_summary": (14, 35),
    "crash_hunt_summary": (6, 15),
    "stage_b_summary": (8, 20),
    "pivot_summary": (14, 35),
    "study_summary": (28, 70),
    "parity": (1, 1),
    "diagnostics": (28, 70),
    "all": (28, 70),
}


@pytest.mark.parametrize(
    ("target", "full"), [*product(TARGETS, [False]), ("stage_b_summary", True), ("all", True)]
)
def test_every_target_is_planned_with_both_configurations(snakemake, target, full):
    more = ("--configfile", "config/full.yaml") if full else ()
    found = planned(snakemake(target, "-n", "--cores", "4", *more))
    assert (found["train"], found[target]) == (TARGETS[target][full], 1)


def test_a_new_arm_and_a_sweep_are_one_block_each(snakemake, config_file):
    """The sweep's value that equals the new arm's is not planned twice."""

    def change(data):
        data["arms"]["gentle"] = {
            "hypothesis": "less is enough",
            "execution": {"clip": {"gradient_clip_algorithm": "norm", "max_norm": 0.5}},
        }
        data["sweeps"] = {"norms": {"arm": "gentle", "sweep": {"clip.max_norm": [0.5, 2]}}}

    found = snakemake(
        "norms_summary", "-n", "--cores", "1", "--configfile", config_file(change)
    )  # fmt: skip
    assert planned(found)["train"] == 3
    assert "train, evaluate tiny/gentle-max_norm-2 seed 0" in said(found)


def test_an_unknown_arm_in_a_path_is_no_traceback(snakemake):
    target = "results/train/triangle_n32/agd/seed-0/run.json"
    result = snakemake(target, "-n", "--cores", "1")
    assert result.returncode != 0
    assert target in said(result) and "Traceback" not in said(result)


def test_the_workflow_passes_snakemakes_own_lint(snakemake):
    result = snakemake("--lint")
    assert result.returncode == 0, said(result)


def test_parity_takes_the_run_that_the_study_names_and_retrains_none(snakemake, config_file):
    """Its block is no part of any run's settings."""

    def change(data):
        data["parity"] = {"arm": "agc", "seed": 3}

    found = snakemake("parity", "-n", "--cores", "1", "--configfile", config_file(change))
    assert planned(found)["parity_inference"] == 1
    assert "train tiny/agc seed 3" in said(found)
