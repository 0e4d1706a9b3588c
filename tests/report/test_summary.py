"""The whole summary: complete, readable, the same bytes twice, and strict about its files."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from matplotlib.image import imread

from ptycho_torch.config.read import parse_study
from ptycho_torch.files import io
from ptycho_torch.report.summarise import collect_provenance, summarise_stage
from ptycho_torch.report.summarise.collect import StageFiles
from ptycho_torch.report.summarise.report import details, results
from ptycho_torch.report.summarise.stage import work_out
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.provenance import commit

FIGURES = ("learning_curves", "metric_spread", "reconstructions", "survival")
TABLES = ("runs", "arms", "comparisons", "history", "survival")
# A run without a finished epoch, one on the twin, one stopped midway, one flat.
OUTCOMES = {
    ("control", 0): "non_finite",
    ("control", 1): "twin",
    ("agc", 2): "exploded",
    ("norm1", 0): "collapsed",
}


@pytest.fixture(scope="module")
def mixed(plant):
    return plant(seeds=[0, 1, 2], outcomes=OUTCOMES)


@pytest.fixture(scope="module")
def folder(mixed, tmp_path_factory):
    out = tmp_path_factory.mktemp("stage_a")
    summarise_stage(**mixed, folder=out)
    return out


@pytest.fixture(scope="module")
def text(folder):
    return (folder / "summary.md").read_text()


def test_everything_that_the_contract_names_is_written_and_nothing_else(folder):
    expected = {f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")}
    expected |= {f"{name}.csv" for name in TABLES} | {"summary.md", "study.json", "findings.json"}
    assert {path.name for path in folder.iterdir()} == expected


def test_every_run_is_a_row_with_its_outcome(folder):
    runs = pd.read_csv(folder / "runs.csv").set_index(["arm", "seed"])
    assert len(runs) == 12
    for (arm, seed), row in runs.iterrows():
        assert row["outcome"] == OUTCOMES.get((arm, seed), "completed")
        assert row["failed"] == ((arm, seed) in OUTCOMES)
    assert runs.loc[("control", 0), ["failure_epoch", "failure_step"]].tolist() == [1, 7]
    assert runs.loc[("agc", 2), ["failure_epoch", "failure_step"]].tolist() == [5, 263]
    # Found at the end: counted at the last epoch.
    assert runs.loc[("norm1", 0), ["failure_epoch", "failure_step"]].tolist() == [10, 640]
    assert runs.loc[("stable", 0), ["failure_epoch"]].isna().all()
    assert runs.loc[("control", 0), ["best_val_loss", "best_amplitude_ssim"]].isna().all()
    assert runs.loc[("control", 1), "twin_share"] == 0.9


def test_medians_are_of_successful_runs_only(folder, text):
    runs = pd.read_csv(folder / "runs.csv")
    arms = pd.read_csv(folder / "arms.csv").set_index("arm")
    control = runs[(runs["arm"] == "control") & (runs["outcome"] == "completed")]
    assert arms.loc["control", "best_val_loss_n"] == 1
    assert arms.loc["control", "best_val_loss_median"] == control["best_val_loss"].item()
    assert arms.loc["control", ["failures", "runs", "twin", "non_finite"]].tolist() == [2, 3, 1, 1]
    assert arms.loc["constant", "best_amplitude_ssim_median"] == 0.277
    assert "2 of 3 (21 % to 94 %)" in text


def test_history_and_survival_hold_all_runs(folder):
    history = pd.read_csv(folder / "history.csv")
    assert len(history) == 12 * 10 - 10 - 6  # one run without an epoch, one that ended after 4
    survival = pd.read_csv(folder / "survival.csv")
    control = survival[survival["arm"] == "control"]
    assert control["epoch"].tolist() == [0, 1, 10]
    assert control["survival"].tolist() == pytest.approx([1, 2 / 3, 1 / 3])


def test_tables_have_as_many_cells_in_every_row_as_in_their_header(text):
    blocks = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert len(blocks) >= 10
    for block in blocks:
        rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in block.strip().split("\n")]
        assert len({len(row) for row in rows}) == 1, block
        assert set(rows[1]) == {" --- "}
        for row in rows[2:]:
            assert all(cell.strip() for cell in row), f"an empty cell in {row}"
            assert not any(cell.strip() in ("nan", "None") for cell in row)


def test_each_failure_is_listed_with_epoch_step_and_reason(text):
    section = text.split("## Failures, one by one")[1].split("## ")[0]
    assert section.count("\n| `") == len(OUTCOMES)
    assert "| `control` | 0 | `non_finite` | 1 | 7 | the loss is NaN |" in section
    assert "planted as twin \\| with a pipe" in section


def test_a_failure_found_in_the_reconstruction_is_told_from_one_of_training(plant):
    """NaN only in the predictions: the run itself ended well, at its last epoch."""
    given = plant(seeds=[0])
    _change(given["metrics"][0], outcome="non_finite", reason="9 patches hold NaN")
    findings = _read(given)
    run = findings.runs.iloc[0]
    assert (run["failure_epoch"], run["failure_found"]) == (10, "evaluation")
    assert "| 10 (found at the end) |" in details.failures(findings)
    assert "not defined: one image is constant" in results.results(findings)


def test_links_lead_to_files_that_are_there(folder, text):
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) == 8
    assert all((folder / link).is_file() for link in links)


def test_the_small_study_says_what_it_is_and_how_to_run_the_full_one(text):
    command = "snakemake stage_a_summary --cores 4 --configfile config/full.yaml"
    assert "> [!IMPORTANT]" in text
    assert "3 seeds per arm" in text
    assert command in text


def test_figures_are_not_blank(folder):
    for name in FIGURES:
        picture = imread(folder / f"{name}.png")[..., :3]
        assert picture.shape[1] >= 600
        assert picture.std() > 0.04, name
        assert "<svg" in (folder / f"{name}.svg").read_text()[:1000]


def test_the_same_runs_give_the_same_bytes(mixed, folder, tmp_path):
    """In any order of the files; a date or a random id in an SVG fails here."""
    turned = {
        key: value[::-1] if isinstance(value, list) else value for key, value in mixed.items()
    }
    summarise_stage(**turned, folder=tmp_path)
    for path in sorted(folder.iterdir()):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def _rule_script():
    path = Path(__file__).parents[2] / "workflow" / "scripts" / "summarise_stage.py"
    spec = importlib.util.spec_from_file_location("summarise_stage", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _job(given, folder):
    """Return what Snakemake hands to a script, as far as it is used."""
    command = "snakemake stage_a_summary --cores 4 --configfile config/full.yaml"
    params = SimpleNamespace(study=given.pop("study"), stage=given.pop("stage"), command=command)
    output = SimpleNamespace(summary=str(folder / "summary.md"))
    given = {"winner": [], "conventional": [], **given}
    return SimpleNamespace(input=SimpleNamespace(**given), params=params, output=output)


def test_a_truth_without_phase_gives_reasons_instead_of_numbers(plant, tmp_path):
    given = plant(seeds=[0], set_phi=False, protocol="full")
    _rule_script().main(_job(given, tmp_path))
    text = (tmp_path / "summary.md").read_text()
    results = text.split("## Results by arm")[1].split("<details>")[0]
    assert results.count("not defined: the truth has no phase") == 4 + 2
    assert "so no phase score is defined" in text
    assert "[!IMPORTANT]" not in text
    assert "`snakemake stage_a_summary --cores 4 --configfile config/full.yaml`" in text
    comparisons = pd.read_csv(tmp_path / "comparisons.csv")
    phase = comparisons[comparisons["score"] == "best_phase_synchronised_ssim"]
    assert phase["n"].eq(0).all()
    assert phase["difference"].isna().all()


def _read(given):
    given = dict(given)
    study, stage, provenance = (given.pop(key) for key in ("study", "stage", "provenance"))
    return work_out(StageFiles(**given), parse_study(study, "test"), stage, provenance)


def _change(path, **changes):
    io.write_json(path, {**io.read_json(path), **changes})


def test_a_missing_or_foreign_file_is_named(plant, tmp_path):
    given = plant(seeds=[0])
    with pytest.raises(InputError, match=r"triangle_n32/control/seed-0/run.json: is missing"):
        _read({**given, "runs": given["runs"][1:]})
    with pytest.raises(InputError, match=r"run.json: .* is already there"):
        _read({**given, "runs": [*given["runs"], given["runs"][0]]})
    stranger = tmp_path / "triangle_n32" / "control" / "seed-7" / "run.json"
    stranger.parent.mkdir(parents=True)
    shutil.copy(given["runs"][0], stranger)
    with pytest.raises(InputError, match=r"seed-7/run.json: is no run.json of this stage"):
        _read({**given, "runs": [*given["runs"], stranger]})
    shutil.copy(given["runs"][1], given["runs"][0])
    with pytest.raises(InputError, match=r"control/seed-0/run.json: says it is .*arm stable"):
        _read(given)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("metrics", {"outcome": "fine"}, "outcome is 'fine', expected one of"),
        ("runs", {"dataset_sha256": {"train": "0"}}, "was made with other data"),
        ("runs", {"outcome": "exploded"}, "run.json says 'exploded'"),
        ("runs", {"outcome": "collapsed"}, "run.json says 'collapsed'"),
    ],
)
def test_files_that_contradict_each_other_are_refused(plant, kind, changes, message):
    given = plant(seeds=[0])
    _change(given[kind][0], **changes)
    with pytest.raises(InputError, match=message):
        _read(given)


def test_a_file_of_another_version_is_refused_by_the_missing_key(plant):
    given = plant(seeds=[0])
    record = io.read_json(given["runs"][0])
    del record["best_val_loss"]
    io.write_json(given["runs"][0], record)
    with pytest.raises(InputError, match=r"seed-0/run.json: lacks 'best_val_loss'"):
        _read(given)


def test_arms_with_different_losses_are_compared_by_their_mae(plant):
    given = plant(seeds=[0])
    _change(given["runs"][0], val_loss_name="poisson_val_loss", best_val_loss=-5.0)
    findings = _read(given)
    assert findings.loss.column == "best_mae_val_loss"


def test_summarising_does_not_import_torch():
    code = (
        "import sys, ptycho_torch.report.summarise;"
        "bad = {'torch', 'lightning', 'matplotlib.pyplot'} & set(sys.modules);"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_provenance_names_the_commit_and_no_place(tmp_path):
    found = collect_provenance("make it")
    text = json.dumps(found)
    assert str(Path.home()) not in text
    assert str(Path(__file__).parents[2]) not in text
    assert found["versions"]["numpy"] == __import__("numpy").__version__
    assert commit(tmp_path / "module.py") == "unknown: not a git checkout"


def test_commit_tells_a_clean_checkout_from_a_changed_and_a_foreign_one(tmp_path):
    def git(*arguments):
        settings = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        command = ["git", *settings, *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)

    git("init")
    source = tmp_path / "module.py"
    source.write_text("1")
    assert commit(source) == "unknown: no commit holds this package"
    git("add", "module.py")
    git("commit", "-m", "one")
    head = git("rev-parse", "HEAD").stdout.strip()
    assert commit(source) == head
    source.write_text("2")
    assert commit(source) == f"{head} with uncommitted changes"
    (tmp_path / "stranger.py").write_text("3")
    assert commit(tmp_path / "stranger.py") == "unknown: no commit holds this package"


def test_spikes_that_runs_outlived_are_shown(text):
    """3 planted in each run of the control; a run that outlives a spike is no failure."""
    table = text.split("## Gradient norms and clipping")[1].split("\n\n")[1].splitlines()
    cells = {row.split("|")[1].strip(): row.split("|")[-3:-1] for row in table[2:]}
    spikes, runs = (int(cell) for cell in cells["`control`"])
    assert spikes == 3 * runs > 0
    assert int(cells["`stable`"][0]) == 0
