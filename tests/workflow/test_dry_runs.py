"""What is planned, word for word as the README says it, and what a user's mistake gets.

A dry run takes seconds: what a stage holds is in tests/config/test_plan.py, every mistake of a
study in tests/config/test_read.py, what an edit makes again in docs/reference/reruns.md.
"""

import re
from pathlib import Path

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.read import load_yaml, parse_study
from ptycho_torch.files import io

ROOT = Path(__file__).resolve().parents[2]

SUMMARIES = (
    *(
        "stage_a_summary",
        "stress_summary",
        "clip_sweep_summary",
        "crash_hunt_summary",
        "stage_b_summary",
    ),
    *("pivot_summary", "study_summary"),
)


def printed(result):
    return result.stdout + result.stderr


def planned(result):
    """Jobs by rule; of trainings and evaluations the runs, however many a job has."""
    assert result.returncode == 0, printed(result)
    found = {}
    for rule, n in re.findall(r"^(\w+) +(\d+)$", printed(result), re.M):
        name, seeds = re.fullmatch(r"(\w+?)((?:_\d+)*)", rule).groups()
        found[name] = found.get(name, 0) + int(n) * max(1, seeds.count("_"))
    return found


def test_targets_may_follow_resources_as_people_type_them(snakemake):
    """Target after --resources: plain Snakemake ends in a traceback here."""
    found = planned(snakemake("--cores", "4", "--resources", "gpu=1", "stage_a_summary", "-n"))
    jobs = {"simulate": 1, "train": 24, "evaluate": 24, "stage_a_summary": 1}
    assert {rule: found[rule] for rule in jobs} == jobs


def test_all_targets_of_the_default_study_are_planned_a_line_an_arm(snakemake):
    targets = ("all", "crash_hunt_summary", "parity", "diagnostics")
    result = snakemake(*targets, "-n", "--cores", "4")
    found = planned(result)
    assert found["train"] == found["evaluate"] == 192
    once = (*SUMMARIES, "study_page", "parity", "diagnose_fresh", "diagnose_runs", "diagnostics")
    assert {rule: found[rule] for rule in once} == dict.fromkeys(once, 1)
    lines = printed(result).splitlines()
    arms = [line for line in lines if line.startswith("train, evaluate triangle_n32/")]
    assert len(arms) == 36 and sum("seeds 0-5" in line for line in arms) == 12
    assert all("not made yet" in line for line in arms)
    assert len(lines) < 100


def test_the_full_protocol_is_planned_without_a_target(snakemake):
    found = planned(snakemake("--cores", "4", "--configfile", "config/full.yaml", "--dry-run"))
    assert found["train"] == found["evaluate"] == 384
    assert all(found[rule] == 1 for rule in SUMMARIES if rule != "crash_hunt_summary")


def test_a_new_arm_a_sweep_and_parity_are_one_block_each(snakemake, config_file):
    """The sweep's value that equals the new arm's is not planned twice, parity's block is no part of
    any run, and the file replaces the default: laid over it, far more would be trained."""

    def change(data):
        data["arms"]["gentle"] = {
            "hypothesis": "less is enough",
            "execution": {"clip": {"gradient_clip_algorithm": "norm", "max_norm": 0.5}},
        }
        data["sweeps"] = {"norms": {"arm": "gentle", "sweep": {"clip.max_norm": [0.5, 2]}}}
        data["parity"] = {"arm": "agc", "seed": 3}

    targets = ("stage_a_summary", "norms_summary", "parity")
    result = snakemake(*targets, "-n", "--cores", "1", "--configfile", config_file(change))
    found = planned(result)
    # control, agc, gentle, its other value, and the run of parity.
    assert (found["train"], found["parity_inference"]) == (5, 1)
    assert "train, evaluate tiny/gentle-max_norm-2 seed 0" in printed(result)
    assert "train tiny/agc seeds 0, 3" in printed(result)


def test_single_keys_can_be_changed_on_the_command_line(snakemake):
    """Snakemake hands nested values over as text; numbers and lists must arrive as such."""
    words = (
        "stage_a={seeds: [3, 4, 5]}",
        "training={epochs: 2}",
        "diagnostics={stages: [stage_a]}",
    )
    found = planned(snakemake("diagnostics", "-n", "--cores", "1", "--config", *words))
    assert (found["train"], found["diagnose_fresh"], found["diagnose_runs"]) == (12, 1, 1)


def refused(result, *messages):
    assert result.returncode != 0
    assert all(message in printed(result) for message in messages), printed(result)
    assert "Traceback" not in printed(result)


def test_mistakes_are_errors_without_a_traceback(snakemake, config_file):
    words = ("stage_a_summary", "-n", "--cores", "1")
    path = config_file(lambda data: data["training"].update(epoch=3))
    message = f"{path}: training: TrainingSettings has no key 'epoch'; did you mean 'epochs'?"
    refused(snakemake(*words, "--configfile", path), message)
    refused(
        snakemake(*words, "--config", "training={epochs: ten}"),
        "--config (training): training.epochs: Input should be a valid integer, got 'ten'",
    )
    study = Path(path).read_text()
    Path(path).write_text(study.replace("the smallest study", "étude"), encoding="latin-1")
    refused(snakemake(*words, "--configfile", path), f"{path}: is not a UTF-8 text file", "save it")
    unknown = "results/train/triangle_n32/agd/seed-0/run.json"
    refused(snakemake(unknown, *words[1:]), unknown)


def test_finished_runs_are_not_replaced_without_a_word(snakemake, tmp_path):
    """Whether the run's own settings or its dataset's changed; the same study says nothing."""
    study = parse_study(load_yaml(ROOT / "config" / "config.yaml"), "study")
    data, results = study.datasets["triangle_n32"], tmp_path / "results"
    for seed in (0, 1):
        run = run_settings(study, "triangle_n32", "agc", seed).model_dump(mode="json")
        path = results / f"train/triangle_n32/agc/seed-{seed}/run.json"
        path.parent.mkdir(parents=True)
        io.write_json(path, {"settings": run})
    io.write_json(results / "simulate/triangle_n32/dataset.json", {"settings": data.published()})
    plan = ("stage_a_summary", "-n", "--cores", "1")
    assert "finished run" not in printed(snakemake(*plan))
    for change, said in (
        ("training={epochs: 2}", "2 finished runs were .*training.epochs is 8, the study says 2"),
        ("datasets={triangle_n32: {photons: 5}}", "2 finished runs .*photons is .*, the study s"),
    ):
        found = re.search(said, printed(snakemake(*plan, "--config", change)))
        assert found and "--directory OTHER keeps them" in found.string
