"""The rules of the diagnoses: what is planned, and their scripts from runs to the decision."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.plan import untrained_networks
from ptycho_torch.config.read import parse_study
from ptycho_torch.files import io

REPORTS = {"gradients": "gradient_report.json", "activations": "activation_report.json"}


def planned(result):
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    return {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", said, re.M)}


def test_the_target_plans_one_job_for_all_runs_of_a_dataset(snakemake):
    found = planned(snakemake("diagnostics", "-n", "--cores", "4"))
    assert (found["diagnose_fresh"], found["diagnostics"], found["train"]) == (1, 1, 28)
    words = ("--config", "diagnostics={stages: [stage_a]}")
    found = planned(snakemake("diagnostics", "-n", "--cores", "4", *words))
    assert (found["diagnose_runs"], found["train"]) == (1, 8)


def test_fresh_networks_alone_train_nothing(snakemake):
    words = ("--config", "diagnostics={stages: [], depths: [3], seeds: 2}")
    found = planned(snakemake("diagnostics", "-n", "--cores", "4", *words))
    assert "train" not in found and "diagnose_runs" not in found


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"depth": [4]}, "diagnostics: DiagnosticsSettings has no key 'depth'; did you mean"),
        ({"stages": ["stage_c"]}, "diagnostics.stages: there is no stage 'stage_c'; did you mean"),
        ({"depths": [4, 4]}, "diagnostics: depths names 4 more than once"),
        ({"min_gradient_ratio": 2}, "diagnostics.min_gradient_ratio: Input should be less than 1"),
    ],
)
def test_a_mistake_in_the_block_is_one_error(tiny, block, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_study({**tiny, "diagnostics": block}, "tiny.yaml")


def test_a_depth_that_cannot_be_built_is_named_before_anything_runs(tiny):
    tiny["generator"]["levels"] = 2
    with pytest.raises(ValueError, match=r"diagnostics.depths: hybrid-1 cannot be built: 2 levels"):
        parse_study({**tiny, "diagnostics": {"depths": [1]}}, "tiny.yaml")


def test_the_block_reaches_no_run(tiny, tiny_study):
    """Or else a threshold would retrain everything."""
    changed = parse_study({**tiny, "diagnostics": {"groups": 3}}, "tiny.yaml")
    assert changed.diagnostics.groups == 3
    for arm in changed.stage_a.arms:
        assert run_settings(changed, "tiny", arm, 0) == run_settings(tiny_study, "tiny", arm, 0)


def test_fresh_networks_are_each_there_once(tiny_study):
    """`agc` is `control` before its first step; both have another depth than those compared."""
    assert list(untrained_networks(tiny_study)) == [
        "hybrid-4", "stable_hybrid-4", "layerscale_hybrid-4",
        "hybrid-8", "stable_hybrid-8", "layerscale_hybrid-8", "control",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_dataset):
    """Three runs: one as trained, one that failed, and one that failed with weights of NaN."""
    from ptycho_torch.config.read import load_yaml
    from ptycho_torch.train.run import train_run

    study = parse_study(load_yaml("tests/tiny.yaml"), "tiny.yaml")
    root = tmp_path_factory.mktemp("runs")
    good = root / "good"
    train_run(
        run_settings(study, "tiny", "control", 0), splits=tiny_dataset.splits, dataset=tiny_dataset.dataset,
        folder=good, threads=1,
    )  # fmt: skip
    record = io.read_json(good / "run.json")
    for name, seed in (("failed", 1), ("lost", 2)):
        shutil.copytree(good, root / name)
        changed = record | {"seed": seed, "outcome": "non_finite"}
        io.write_json(root / name / "run.json", changed)
    tensors = io.read_tensors(root / "lost/last.safetensors")
    io.write_tensors(root / "lost/last.safetensors", {k: v * torch.nan for k, v in tensors.items()})
    return [root / name for name in ("good", "failed", "lost")]


def test_the_history_has_the_ratio_of_every_epoch(runs):
    ratios = pd.read_csv(runs[0] / "history.csv")["spectral_local_ratio"]
    assert len(ratios) == 2 and ratios.between(1e-3, 10).all()


@pytest.fixture
def diagnosed(run_script, tiny, tiny_dataset, runs, tmp_path):
    """All three scripts on the tiny study, as Snakemake would run them."""
    study = parse_study(
        {**tiny, "diagnostics": {"groups": 4, "seeds": 2, "depths": [2, 3]}}, "tiny.yaml"
    )
    settings = study.diagnostics.model_dump(mode="json")
    data = {"train": tiny_dataset.splits["train"], "dataset": tiny_dataset.dataset}
    networks = {k: v.model_dump(mode="json") for k, v in untrained_networks(study).items()}
    outputs = {
        kind: {key: f"{kind}/{name}" for key, name in REPORTS.items()}
        for kind in ("fresh", "trained")
    }
    threads = torch.get_num_threads()
    try:
        run_script(
            "diagnose_fresh.py", input=data, output=outputs["fresh"] | {"units": "units.json"},
            params={"networks": networks, "settings": settings},
        )  # fmt: skip
        run_script(
            "diagnose_runs.py", input=data | {"runs": [run / "run.json" for run in runs]},
            output=outputs["trained"], params={"settings": settings},
        )  # fmt: skip
    finally:
        torch.set_num_threads(threads)
    run_script(
        "diagnostics.py",
        input={
            **{k: [tmp_path / kind / name for kind in outputs] for k, name in REPORTS.items()},
            "units": [tmp_path / "units.json"],
            "runs": [run / "run.json" for run in runs],
            "histories": [run / "history.csv" for run in runs],
        },
        output={"prose": "decision.md"},
        params={"study": study.model_dump(mode="json"), "command": "snakemake diagnostics"},
    )
    return tmp_path


def test_the_scripts_lead_from_runs_to_a_decision(diagnosed):
    reports = {
        (kind, key): json.loads((diagnosed / kind / name).read_text())
        for kind in ("fresh", "trained")
        for key, name in REPORTS.items()
    }
    fresh, trained = reports["fresh", "gradients"], reports["trained", "gradients"]
    # Three generators at two depths, two seeds; `hybrid` also as it was drawn before.
    assert len(fresh["networks"]) == (6 + 2) * 2
    found = {(e["network"]["seed"], e["network"]["state"]): e for e in trained["networks"]}
    assert set(found) == {(0, "best"), (1, "best"), (1, "last"), (2, "best"), (2, "last")}
    assert "hold NaN" in found[2, "last"]["unusable"]
    assert found[1, "last"]["unusable"] is None and found[1, "last"]["spectral_grad_mean"] > 0
    decision = json.loads((diagnosed / "decision.json").read_text())
    assert [item["verdict"] for item in decision["hypotheses"]][1] == "does not hold"
    # Two seeds show nothing, three neither.
    assert decision["hypotheses"][0]["verdict"] == "undecided"
    assert decision["drift"]["verdict"] == "undecided" and decision["drift"]["largest_update"] == 0
    assert len(decision["initialisations"]) == 4 and len(decision["failed"]) == 4
    text = (diagnosed / "decision.md").read_text()
    for figure in re.findall(r"\]\((\S+\.png)\)", text):
        assert (diagnosed / figure).stat().st_size > 5000
        assert (diagnosed / figure).with_suffix(".svg").stat().st_size > 5000
    assert "2 weight seeds, 3 trained runs" in text and "hold NaN or infinity" in text
    # The same weights, looked at twice, have the same numbers.
    assert np.isclose(
        found[0, "best"]["spectral_local_ratio"],
        found[1, "best"]["spectral_local_ratio"],
        rtol=1e-5,
    )


@pytest.fixture
def refused(run_script, tiny_dataset, runs, tmp_path):
    """Diagnose a copy of a run after a change of its folder; return the job's log."""

    def diagnose(change):
        run = tmp_path / "run"
        shutil.copytree(runs[0], run)
        change(run)
        with pytest.raises(SystemExit):
            run_script(
                "diagnose_runs.py",
                input={"train": tiny_dataset.splits["train"], "dataset": tiny_dataset.dataset,
                       "runs": [run / "run.json"]},
                output=REPORTS, params={"settings": {}},
            )  # fmt: skip
        assert not (tmp_path / REPORTS["gradients"]).exists()
        log = (tmp_path / "log.txt").read_text()
        assert "Traceback" not in log
        return log

    return diagnose


def test_a_damaged_bundle_fails_its_job_with_one_line(refused):
    """Weights that changed on disk are trouble with the machine, not a result of the run."""

    def change(run):
        weights = run / "bundle/weights.safetensors"
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)

    assert "weights.safetensors: SHA-256 is" in refused(change)


def test_another_result_in_a_runs_place_is_refused(refused):
    """Its own checksum is right: what it is has to be looked at."""

    def change(run):
        io.write_json(run / "run.json", {"winner": "agc", "arms": ["control", "agc"]})

    assert "run.json: lacks 'dataset'; another version wrote it" in refused(change)


def test_every_figure_of_the_diagnoses_has_a_caption(root):
    rules = (root / "workflow/rules/diagnose.smk").read_text()
    names = re.findall(r'"(\w+)"', re.search(r"DIAGNOSIS_FIGURES = \(([^)]*)\)", rules).group(1))
    assert names == ["activation_depth", "gradient_ratio"]
    for name in (*names, "diagnostics"):
        assert (root / f"workflow/report/{name}.rst").read_text().strip()
