"""The rules of the diagnoses: their block of settings, and their scripts from runs to the decision."""

import json
import re
import shutil

import numpy as np
import pytest
import torch

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.plan import untrained_networks
from ptycho_torch.config.read import load_yaml, parse_study
from ptycho_torch.files import io

REPORTS = {"gradients": "gradient_report.json", "activations": "activation_report.json"}


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"depth": [4]}, "diagnostics: DiagnosticsSettings has no key 'depth'; did you mean"),
        ({"stages": ["stage_c"]}, "diagnostics.stages: there is no stage 'stage_c'; did you mean"),
        ({"depths": [4, 4]}, "diagnostics.depths: names 4 more than once"),
        ({"min_gradient_ratio": 2}, "diagnostics.min_gradient_ratio: Input should be less than 1"),
        ({"depths": [1]}, "diagnostics.depths: hybrid-1 cannot be built: 2 levels"),
    ],
)
def test_a_mistake_in_the_block_is_one_error(tiny, block, message):
    tiny["generator"]["levels"] = 2
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_study({**tiny, "diagnostics": block}, "tiny.yaml")


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
        settings = record["settings"] | {"seed": seed}
        changed = record | {"seed": seed, "settings": settings, "outcome": "non_finite"}
        io.write_json(root / name / "run.json", changed)
    tensors = io.read_tensors(root / "lost/last.safetensors")
    io.write_tensors(root / "lost/last.safetensors", {k: v * torch.nan for k, v in tensors.items()})
    return [root / name for name in ("good", "failed", "lost")]


@pytest.fixture
def diagnosed(run_script, tiny_dataset, runs, tmp_path):
    """All three scripts on the tiny study, as Snakemake would run them."""
    block = {"groups": 4, "seeds": 2, "depths": [2, 3]}
    study = parse_study(load_yaml("tests/tiny.yaml") | {"diagnostics": block}, "tiny.yaml")
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
    # Three generators at two depths, two seeds.
    assert len(fresh["networks"]) == 6 * 2
    found = {(e["network"]["seed"], e["network"]["state"]): e for e in trained["networks"]}
    assert set(found) == {(0, "best"), (1, "best"), (1, "last"), (2, "best"), (2, "last")}
    assert "hold NaN" in found[2, "last"]["unusable"]
    assert found[1, "last"]["unusable"] is None and found[1, "last"]["spectral_grad_mean"] > 0
    decision = json.loads((diagnosed / "decision.json").read_text())
    assert [item["verdict"] for item in decision["hypotheses"]][1] == "does not hold"
    # Two seeds show nothing, three neither.
    assert decision["hypotheses"][0]["verdict"] == "undecided"
    assert decision["drift"]["verdict"] == "undecided" and len(decision["failed"]) == 4
    assert all(run["last_grad_norm"] > 0 for run in decision["failed"])
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


def damage_weights(run):
    weights = run / "bundle/weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


def replace_run(run):
    io.write_json(run / "run.json", {"winner": "agc", "arms": ["control", "agc"]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # Weights that changed on disk are trouble with the machine, not a result of the run.
        (damage_weights, "weights.safetensors: SHA-256 is"),
        (replace_run, "run.json: lacks 'dataset'; another version wrote it"),
    ],
)
def test_a_damaged_run_fails_its_job_with_one_line(
    run_script, tiny_dataset, runs, tmp_path, change, message
):
    run = tmp_path / "run"
    shutil.copytree(runs[0], run)
    change(run)
    data = {"train": tiny_dataset.splits["train"], "dataset": tiny_dataset.dataset}
    with pytest.raises(SystemExit):
        run_script(
            "diagnose_runs.py", input=data | {"runs": [run / "run.json"]}, output=REPORTS,
            params={"settings": {}},
        )  # fmt: skip
    assert not (tmp_path / REPORTS["gradients"]).exists()
    log = (tmp_path / "log.txt").read_text()
    assert message in log and "Traceback" not in log
