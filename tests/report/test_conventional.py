"""The row that no network made: in the tables, in time to quality, and in no comparison."""

import json

import pandas as pd
import pytest
from matplotlib.image import imread

from ptycho_torch.config.read import parse_study
from ptycho_torch.report.summarise import summarise_stage
from ptycho_torch.report.summarise.answers import answer
from ptycho_torch.report.summarise.collect import StageFiles
from ptycho_torch.report.summarise.report import report
from ptycho_torch.report.summarise.stage import work_out
from ptycho_torch.runtime.errors import InputError


@pytest.fixture(scope="module")
def planted(plant):
    """Return a function that plants a study whose intervals are quick and rough."""

    def write(**plan):
        given = plant(**plan)
        given["study"]["statistics"] = {"power_simulations": 100, "bootstrap_resamples": 100}
        return given

    return write


@pytest.fixture(scope="module")
def given(planted):
    return planted(seeds=[0, 1, 2], conventional={})


@pytest.fixture(scope="module")
def folder(given, tmp_path_factory):
    out = tmp_path_factory.mktemp("stage_a")
    summarise_stage(**given, folder=out)
    return out


@pytest.fixture(scope="module")
def text(folder):
    return (folder / "summary.md").read_text()


def test_its_row_stands_beside_constant_image_and_truth(folder, text):
    row = next(line for line in text.splitlines() if "conventional: rPIE, known probe" in line)
    assert "| 0.999 |" in row and "R factor 0.00123" in row and "| completed |" in row
    arms = pd.read_csv(folder / "arms.csv").set_index("arm")
    assert arms.loc["conventional", "kind"] == "baseline"
    assert arms.loc["conventional", "best_amplitude_ssim_median"] == 0.999
    found = json.loads((folder / "findings.json").read_text())
    assert found["conventional"]["scored"][-1]["seconds"] == 10
    assert found["baselines"]["conventional"]["amplitude_ssim"] == 0.999


def test_it_enters_no_comparison_and_is_no_run(folder, text, planted, tmp_path):
    assert "conventional" not in (folder / "comparisons.csv").read_text()
    assert set(pd.read_csv(folder / "runs.csv")["arm"]) == {"control", "stable", "agc", "norm1"}
    summarise_stage(**planted(seeds=[0, 1, 2]), folder=tmp_path)
    for name in ("runs.csv", "comparisons.csv", "survival.csv", "history.csv"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    without = (tmp_path / "summary.md").read_text()
    assert "rPIE" not in without and "Time to quality" not in without
    verdicts = [t.split("## Verdict by arm")[1].split("\n## ")[0] for t in (text, without)]
    assert verdicts[0] == verdicts[1]
    assert not (tmp_path / "time_to_quality.png").exists()


def test_time_to_quality_says_what_each_costs(folder, text):
    section = text.split("## Time to quality")[1].split("\n## ")[0]
    assert "| `stable` | 21.0 | 1.50 | 0.7" in section  # medians of 20, 21, 22 and 0.5, 1.5, 2.5
    assert "| rPIE, iteration 10 | none | 1.00 | 0.900 | 0.100 |" in section
    # The best arm has 0.98 - 3 * 0.063 = 0.79, which rPIE first iterations at iteration 10.
    assert "(`stable`, 0.79" in section and "after iteration 10, in 1.00 s" in section
    assert "device cpu, threads 1" in section
    picture = imread(folder / "time_to_quality.png")
    assert picture.shape[1] > 800 and picture[..., :3].std() > 0.02
    assert (folder / "time_to_quality.svg").stat().st_size > 5000


def text_of(given):
    """The summary alone, without its figures."""
    files = {key: given[key] for key in StageFiles.__dataclass_fields__}
    study = parse_study(given["study"], "planted")
    found = work_out(StageFiles(**files), study, given["stage"], given["provenance"])
    return report(found, answer(found))


def test_a_phase_that_is_not_there_has_its_reason(planted):
    lines = text_of(planted(seeds=[0], conventional={}, set_phi=False)).splitlines()
    row = next(line for line in lines if "conventional: rPIE" in line)
    assert "not defined: the truth has no phase" in row


def test_other_stages_have_the_row_and_not_the_figure(planted):
    text = text_of(planted(seeds=[0], conventional={}, stage="crash_hunt"))
    assert "conventional: rPIE" in text and "Time to quality" not in text


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"dataset_sha256": {"train": "0"}}, "made with other data"),
        ({"scored": []}, "scored: List should have at least 1 item"),
    ],
)
def test_a_foreign_or_empty_file_is_refused(planted, files, message):
    with pytest.raises(InputError, match=message):
        text_of(planted(seeds=[0], conventional=files))
