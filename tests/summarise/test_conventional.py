"""The row that no network made: in the tables, in time to quality, and in no comparison."""

import json

import pandas as pd
import pytest
from matplotlib.image import imread

from ptycho_torch.config.base import InputError
from ptycho_torch.summarise import summarise_stage


@pytest.fixture(scope="module")
def given(plant):
    return plant(seeds=[0, 1, 2], conventional={})


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


def test_it_enters_no_comparison_and_is_no_run(folder, text, plant, tmp_path):
    assert "conventional" not in (folder / "comparisons.csv").read_text()
    assert set(pd.read_csv(folder / "runs.csv")["arm"]) == {"control", "stable", "agc", "norm1"}
    summarise_stage(**plant(seeds=[0, 1, 2]), folder=tmp_path)
    for name in ("runs.csv", "comparisons.csv", "survival.csv", "history.csv"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    without = (tmp_path / "summary.md").read_text()
    assert "rPIE" not in without and "Time to quality" not in without
    verdicts = [t.split("## Verdict by arm")[1].split("\n## ")[0] for t in (text, without)]
    assert verdicts[0] == verdicts[1]
    assert not (tmp_path / "time_to_quality.png").exists()


def test_time_to_quality_says_what_each_costs(folder, text):
    section = text.split("## Time to quality")[1].split("\n## ")[0]
    assert "| `stable` | 21.0 | 1.50 | 0.8" in section  # medians of 20, 21, 22 and 0.5, 1.5, 2.5
    assert "| rPIE, pass 10 | none | 1.00 | 0.900 | 0.100 |" in section
    # The best arm has 0.98 - 3 * 0.063 = 0.79, which rPIE first passes at pass 10.
    assert "(`stable`, 0.79" in section and "after pass 10, in 1.00 s" in section
    assert "device cpu, threads 1" in section
    picture = imread(folder / "time_to_quality.png")
    assert picture.shape[1] > 800 and picture[..., :3].std() > 0.02
    assert (folder / "time_to_quality.svg").stat().st_size > 5000


def test_a_phase_that_is_not_there_has_its_reason(plant, tmp_path):
    summarise_stage(**plant(seeds=[0], conventional={}, set_phi=False), folder=tmp_path)
    lines = (tmp_path / "summary.md").read_text().splitlines()
    row = next(line for line in lines if "conventional: rPIE" in line)
    assert "not defined: the truth has no phase" in row


def test_other_stages_have_the_row_and_not_the_figure(plant, tmp_path):
    summarise_stage(**plant(seeds=[0], conventional={}, stage="clip_sweep"), folder=tmp_path)
    text = (tmp_path / "summary.md").read_text()
    assert "conventional: rPIE" in text and "Time to quality" not in text
    assert not (tmp_path / "time_to_quality.png").exists()


@pytest.mark.parametrize(
    ("planted", "message"),
    [
        ({"dataset_sha256": {"train": "0"}}, "made with other data"),
        ({"scored": []}, "'scored' lacks rows"),
    ],
)
def test_a_foreign_or_empty_file_is_refused(plant, tmp_path, planted, message):
    with pytest.raises(InputError, match=message):
        summarise_stage(**plant(seeds=[0], conventional=planted), folder=tmp_path)
