"""The summary of measurements, planned and run as users do."""

import re
import shutil

import pytest
from tests.commands import snakemake

from ptycho_torch.config.arms import fit_settings
from ptycho_torch.config.read import parse_study
from ptycho_torch.files import io
from ptycho_torch.files.io import read_csv
from ptycho_torch.report.summarise.real_data import summarise_real_data
from ptycho_torch.runtime.errors import InputError

PROVENANCE = {"command": "snakemake real_data_summary", "commit": "0", "python": "3", "platform": "p",
              "versions": {"torch": "2"}}  # fmt: skip


def test_the_whole_chain_runs_through_snakemake(results, packed):
    text = (results.folder / "summary.md").read_text()
    for figure in re.findall(r"\]\((\S+\.(?:png|svg))\)", text):
        assert (results.folder / figure).stat().st_size > 5000, figure
    for words_said in (packed.sha256, "A scan with photon noise", "0 of 1 network run failed"):
        assert words_said in text
    assert "Nothing to be done" in results.again("-n")


def test_the_target_is_planned_and_needs_nothing_of_the_study(tmp_path):
    said = snakemake(tmp_path, "real_data_summary", "-n", "--configfile", "config/full.yaml")
    counts = {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", said, re.M)}
    assert counts["real_data_train"] == counts["real_data_infer"] == 40
    assert counts["real_data_evaluate"] == 41
    assert not {"train", "simulate", "evaluate"} & set(counts)


def test_a_failed_run_is_a_row_with_its_reason(results, tmp_path):
    folder = tmp_path / "real"
    shutil.copytree(results.folder, folder)
    place = folder / "small/control/seed-3"
    failure = {"epoch": 1, "step": 5, "reason": "the training loss is nan"}
    for file in ("metrics.json", "report.json"):
        facts = io.read_json(place / file)
        facts |= {"outcome": "non_finite", "failure": failure}
        kept = ("engine", "outcome", "failure") if file == "metrics.json" else facts
        io.write_json(place / file, {key: facts[key] for key in kept})
    settings = results.study.real_data.model_dump(mode="json")
    summarise_real_data("A title", settings, fits={}, provenance=PROVENANCE, folder=folder)
    text = (folder / "summary.md").read_text()
    assert "control, seed 3: `non_finite`, the training loss is nan." in text
    assert "1 of 1 network run failed" in text and "none: all failed" in text
    table = read_csv(folder / "scores.csv").set_index("arm")
    assert table.loc["control", "reason"] == failure["reason"]
    assert table.loc["control"].isna()["r_train"] and not table.loc["rpie"].isna()["r_train"]


@pytest.mark.parametrize(
    ("block", "change", "named"),
    [
        ("rpie", {"iterations": 21}, "rpie/report.json: .*iterations is 20, the study says 21"),
        ("training", {"epochs": 9}, "seed-3/run.json: .*training.epochs is 2, the study says 9"),
    ],
)
def test_results_of_other_settings_are_not_summarised(results, tmp_path, block, change, named):
    settings = results.study.model_dump(mode="json", exclude={"title"}) | {"title": "A title"}
    settings["real_data"][block] = {**(settings["real_data"][block] or {}), **change}
    study = parse_study(settings, "changed")
    fits = {"small/control/3": fit_settings(study, "small", "control", 3).model_dump(mode="json")}
    folder = tmp_path / "real"
    shutil.copytree(results.folder, folder)
    (folder / "summary.md").unlink(missing_ok=True)
    real = study.real_data.model_dump(mode="json")
    with pytest.raises(InputError, match=named):
        summarise_real_data("A title", real, fits=fits, provenance=PROVENANCE, folder=folder)
    assert not (folder / "summary.md").exists()


def test_blocks_of_an_arm_and_of_real_data_enter_a_training(real_study):
    data = {**real_study, "real_data": {**real_study["real_data"], "arms": ["agc"],
                                        "gridsizes": [1, 2]}}  # fmt: skip
    study = parse_study(data, "test")
    assert list(study.real_data.networks) == ["agc", "agc-grid2"]
    fit = fit_settings(study, "small", "agc-grid2", 7)
    assert (fit.groups.gridsize, fit.seed, fit.training.epochs) == (2, 7, 2)
    assert fit.execution.clip.gradient_clip_algorithm == "agc"
    assert fit.training.optimizer == study.training.optimizer
