"""The whole summary: complete, readable, the same bytes twice, and strict about its files: all that
is summarised was made with the settings of its study."""

import re
import shutil
import subprocess
from functools import reduce
from operator import getitem
from pathlib import Path

import pandas as pd
import pytest
from tests.report.conftest import work_out_of

from ptycho_torch.files import io
from ptycho_torch.files.belonging import differences
from ptycho_torch.report.summarise.stage import of_stage, put_into_words, summarise_stage
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.provenance import commit

# A run without a finished epoch, one on the twin, one stopped midway, one flat.
OUTCOMES = {
    ("control", 0): "non_finite", ("control", 1): "twin",
    ("agc", 2): "exploded", ("norm1", 0): "collapsed",
}  # fmt: skip


@pytest.fixture(scope="module")
def mixed(plant):
    given = plant(seeds=[0, 1, 2], outcomes=OUTCOMES, conventional=True)
    given["study"]["arms"]["agc"]["hypothesis"] = "one | <img src=x>"
    return given


@pytest.fixture(scope="module")
def folder(mixed, tmp_path_factory):
    out = tmp_path_factory.mktemp("stage_a")
    summarise_stage(**mixed, folder=out)
    return out


@pytest.fixture(scope="module")
def text(folder):
    return both(folder)


def both(folder):
    return (folder / "summary.md").read_text() + (folder / "appendix.md").read_text()


def section(text, title):
    return text.split(f"## {title}")[1].split("\n## ")[0]


def _change(path, **changes):
    io.write_json(path, {**io.read_json(path), **changes})


def test_tables_hold_every_run_with_its_outcome(folder):
    runs = pd.read_csv(folder / "runs.csv").set_index(["arm", "seed"])
    assert len(runs) == 12
    for key, row in runs.iterrows():
        assert row["outcome"] == OUTCOMES.get(key, "completed")
        assert row["failed"] == (key in OUTCOMES)
    failure = runs[["failure_epoch", "failure_step"]]
    assert failure.loc[("control", 0)].tolist() == [1, 7]
    assert failure.loc[("agc", 2)].tolist() == [5, 263]
    # Found at the end: counted at the last epoch.
    assert failure.loc[("norm1", 0)].tolist() == [10, 640]
    assert failure.loc[("stable", 0)].isna().all()
    assert runs.loc[("control", 0), ["best_val_loss", "best_amplitude_ssim"]].isna().all()
    assert runs.loc[("control", 1), "twin_share"] == 0.9
    # One run without an epoch, one that ended after 4.
    assert len(pd.read_csv(folder / "history.csv")) == 12 * 10 - 10 - 6
    survival = pd.read_csv(folder / "survival.csv").query("arm == 'control'")
    assert survival["epoch"].tolist() == [0, 1, 10]
    assert survival["survival"].tolist() == pytest.approx([1, 2 / 3, 1 / 3])


def test_medians_are_of_successful_runs_only_and_baselines_are_rows(folder, text):
    runs = pd.read_csv(folder / "runs.csv")
    arms = pd.read_csv(folder / "arms.csv").set_index("arm")
    control = runs[(runs["arm"] == "control") & (runs["outcome"] == "completed")]
    assert arms.loc["control", "best_mae_val_loss_n"] == 1
    assert arms.loc["control", "best_mae_val_loss_median"] == control["best_mae_val_loss"].item()
    assert arms.loc["control", ["failures", "runs", "twin", "non_finite"]].tolist() == [2, 3, 1, 1]
    known = arms.loc[["constant", "truth", "conventional"], "best_amplitude_ssim_median"]
    assert known.tolist() == [0.277, 1.0, 0.999]
    assert re.search(r"2 of 3 \(9[.\d]* % to 99[.\d]* %\)", text)
    assert "| 0.00480 (MAE) | 1.00 |" in text
    family = pd.read_csv(folder / "comparisons.csv").groupby("family")["level"]
    assert family.count().to_dict() == {"exploratory": 0, "primary": 2}


def test_tables_have_as_many_cells_in_every_row_as_in_their_header(text):
    blocks = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert len(blocks) >= 5
    for block in blocks:
        rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in block.strip().split("\n")]
        assert len({len(row) for row in rows}) == 1, block
        assert set(rows[1]) == {" --- "}
        for cell in (cell.strip() for row in rows[2:] for cell in row):
            assert cell and cell not in ("nan", "None"), block


def test_failures_spikes_and_clipping_are_listed_by_run_and_arm(text):
    assert "one \\| &lt;img src=x>" in text
    failures = section(text, "Failures, one by one")
    assert failures.count("\n| `") == len(OUTCOMES)
    assert "| `control` | 0 | `non_finite` | 1 | 7 | the loss is NaN |" in failures
    assert "planted as twin \\| with a pipe" in failures
    # 3 spikes planted in each run of the control; the settings are those in run.json.
    training = section(text, "Training by arm")
    assert "| `norm1` | {gradient_clip_algorithm: norm, max_norm: 1.0} |" in training
    control = r"`control` \| {gradient_clip_algorithm: none} .* \| 9 \| 1,234,567 \|"
    assert re.search(control, training)


def test_a_failure_of_the_reconstruction_counts_at_the_last_epoch(plant):
    """NaN only in the predictions: the run itself ended well."""
    given = plant(seeds=[0])
    _change(given["files"]["metrics"][0], outcome="non_finite", reason="9 patches hold NaN")
    values = work_out_of(given)
    run = values["f"].runs.iloc[0]
    assert (run["failure_epoch"], run["failure_found"]) == (10, "evaluation")
    assert "| 10 (found at the end) |" in put_into_words(values)["appendix.md"]


def test_the_same_runs_give_the_same_bytes(mixed, folder, run_script, tmp_path):
    """In any order of the files, also by the rule's script; a date or a random id fails here."""
    files = {kind: paths[::-1] for kind, paths in mixed["files"].items()}
    more = {key: mixed[key] for key in ("dataset", "conventional")}
    summary = tmp_path / "summary.md"
    command = mixed["provenance"]["command"]
    run_script(
        "summarise_stage.py",
        input={**files, **more, "winner": [], "plan": []},
        output={"summary": str(summary)},
        params={"study": mixed["study"], "stage": "stage_a", "command": command},
    )
    for path in sorted(folder.iterdir()):
        if path.name != "appendix.md":  # which names the commit and the versions
            assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name
    made = (tmp_path / "appendix.md").read_text().split("## How it was made")[0]
    assert made == (folder / "appendix.md").read_text().split("## How it was made")[0]


def test_a_truth_without_phase_gives_reasons_instead_of_numbers(plant, tmp_path):
    """And seeds that were added after a summary are told, since something is claimed."""
    given = plant(seeds=[0], set_phi=False, protocol="full", conventional=True)
    io.write_json(tmp_path / "stage_a.plan", {"sha256": "0", "looked": [2]})
    summarise_stage(**given, plan=tmp_path / "stage_a.plan", folder=tmp_path)
    text = both(tmp_path)
    assert "**small**" not in text
    assert "Seeds were added after a summary of 2 per arm" in text
    assert "Phase is not defined: the truth has no phase." in text
    row = next(line for line in text.splitlines() if line.startswith("| `control` | 0 of 1"))
    assert "| not defined: the truth has no phase |" in row
    assert (tmp_path / "reconstructions.png").stat().st_size > 10_000


def test_the_conventional_reconstruction_is_a_row_and_enters_no_comparison(folder, text, mixed):
    row = next(line for line in text.splitlines() if line.startswith("| *rPIE*"))
    assert "| 0.999 |" in row and "| completed |" in row
    assert "rPIE, with the known probe," in text and "is 0.00100." in text
    values = work_out_of({**mixed, "conventional": []})
    for name in ("runs.csv", "comparisons.csv", "survival.csv"):
        assert of_stage(values)[name].to_csv(index=False) == (folder / name).read_text(), name
    without = "".join(put_into_words(values).values())
    assert "rPIE" not in without


def test_missing_unexpected_and_swapped_files_are_refused_by_name(plant, tmp_path):
    given = plant(seeds=[0])
    runs = given["files"]["runs"]
    unexpected = tmp_path / "triangle_n32" / "control" / "seed-7" / "run.json"
    for changed, message in (
        (runs[1:], "control/seed-0/run.json: is missing"),
        ([*runs, unexpected], r"seed-7/run.json: no run of stage_a"),
    ):
        with pytest.raises(InputError, match=message):
            work_out_of({**given, "files": {**given["files"], "runs": changed}})
    shutil.copy(runs[1], runs[0])
    other = r"control/seed-0/run.json: .*arm is stable, the study says control"
    with pytest.raises(InputError, match=other):
        work_out_of(given)


def test_results_of_other_data_or_of_another_version_are_refused(plant):
    given = plant(seeds=[0], conventional=True)
    for path in (given["files"]["runs"][0], given["conventional"][1]):
        before = io.read_json(path)
        _change(path, dataset_sha256={"train": "0"})
        with pytest.raises(InputError, match=f"{path.name}: was made with other data"):
            work_out_of(given)
        io.write_json(path, before)
    record = io.read_json(given["files"]["runs"][0])
    del record["best_val_loss"]
    io.write_json(given["files"]["runs"][0], record)
    with pytest.raises(InputError, match=r"seed-0/run.json: lacks 'best_val_loss'"):
        work_out_of(given)


def test_provenance_tells_a_changed_checkout(tmp_path):
    def git(*arguments):
        settings = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        command = ["git", *settings, *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)

    source = tmp_path / "module.py"
    git("init")
    source.write_text("1")
    assert commit(source) == "unknown: no commit holds this package"
    git("add", "module.py")
    git("commit", "-m", "one")
    head = git("rev-parse", "HEAD").stdout.strip()
    assert commit(source) == head
    source.write_text("2")
    assert commit(source) == f"{head} with uncommitted changes"


@pytest.mark.parametrize(
    ("kind", "keys", "value", "named"),
    [
        ("runs", ("training", "optimizer", "learning_rate"), 0.5,
         "run.json: .*training.optimizer.learning_rate is 0.5, the study says .*forcerun train"),
        ("runs", ("generator", "width"), 99, "generator.width is 99"),
        ("runs", ("seed",), 7, "seed is 7, the study says 0"),
        ("metrics", ("trim_px",), 9, "metrics.json: .*trim_px is 9.*forcerun evaluate"),
        ("dataset", ("photons",), 5.0, "dataset.json: .*photons is 5.*forcerun simulate"),
        ("conventional", ("alpha",), 0.7, "progress.json: .*alpha is 0.7.*reconstruct"),
    ],
)  # fmt: skip
def test_results_of_other_settings_are_named(plant, tmp_path, kind, keys, value, named):
    given = plant(seeds=(0, 1), conventional=True)
    _, progress, _ = given["conventional"]
    others = {"dataset": given["dataset"], "conventional": progress}
    path = others[kind] if kind in others else given["files"][kind][0]
    facts = io.read_json(path)
    reduce(getitem, keys[:-1], facts["settings"])[keys[-1]] = value
    io.write_json(path, facts)
    with pytest.raises(InputError, match=named) as error:
        summarise_stage(folder=tmp_path, **given)
    assert str(error.value).startswith(str(path)) and "--directory OTHER" in str(error.value)
    assert not [*Path(tmp_path).iterdir()]


def test_what_changes_no_result_is_not_compared():
    was = {"execution": {"threads": 1, "accelerator": "cpu", "loggers": ["csv"], "devices": 1}}
    now = {"execution": {"threads": 8, "accelerator": "gpu", "loggers": [], "devices": 2}}
    assert [*differences(was, now)] == ["execution.devices is 1, the study says 2"]
    assert [*differences({"a": None}, {})] == []
    assert [*differences({}, {"a": [1]})] == ["a is nothing, the study says [1]"]
