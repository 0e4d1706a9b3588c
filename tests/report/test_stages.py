"""Sweeps, Stage B and the pivot: planted answers come out in words, tables and figures."""

import json

import pandas as pd
import pytest

from conftest import work_out_of
from ptycho_torch.files import io
from ptycho_torch.report.summarise.stage import put_into_words, summarise_stage, work_out
from ptycho_torch.report.summarise.study import summarise_study
from ptycho_torch.runtime.errors import InputError

SEEDS = list(range(8))
DEEP = "-fno_blocks-8"


@pytest.fixture(scope="module")
def made(plant, tmp_path_factory):
    """Return a function that plants a stage and summarises it: its folder and its text."""

    def make(stage, **plan):
        folder = tmp_path_factory.mktemp("results") / stage
        summarise_stage(**plant(stage=stage, **{"seeds": SEEDS, **plan}), folder=folder)
        return folder, (folder / "summary.md").read_text()

    return make


@pytest.fixture
def said(findings_of):
    """Return a function that plants a stage and says what it supports, without figures."""

    def say(stage, **plan):
        findings = findings_of(stage=stage, **{"seeds": SEEDS, **plan})
        return findings, put_into_words(findings)[1]

    return say


def short(text):
    return text.split("## In short")[1].split("\n## ")[0]


def test_a_sweep_without_effect_is_no_artefact(made):
    """Losses alike at every value, seed by seed: shown to be within 10 %."""
    arms = ["control", "norm1", *(f"norm1-max_norm-{v}" for v in (5, 10, 20, 50, 100))]
    folder, text = made("clip_sweep", loss={**dict.fromkeys(arms, 0.081), "control": 0.08})
    assert "No: at every value the loss is shown to be within 10 % of `control`'s" in short(text)
    assert "no artefact" in short(text)
    rows = [line for line in text.splitlines() if line.startswith("| ") and "max_norm" in line]
    assert any("`norm1-max_norm-50`" in row and "alike" in row for row in rows)
    assert (folder / "by_value.png").stat().st_size > 10_000


@pytest.mark.parametrize("other", [0.16, 0.04])
def test_a_sweep_with_an_effect_at_one_end_says_where(said, other):
    """Twice the loss is not alike, and half of it is not either."""
    loss = {
        "control": 0.08,
        "norm1": other,
        **{f"norm1-max_norm-{v}": 0.081 for v in (5, 10, 20, 50, 100)},
    }
    _, text = said("clip_sweep", loss=loss)
    assert "Yes: at max_norm 1 the results differ from `control`'s" in short(text)
    assert "holds for its own threshold only" in short(text)


def test_values_that_never_clip_are_the_controls_own_runs(said):
    """Equal to the last digit needs no test, also with two seeds."""
    findings, _ = said("clip_sweep", seeds=[0, 1])
    runs = findings.runs
    columns = [c for c in runs if c not in ("arm", "clipped_share")]
    control = runs.loc[runs["arm"] == "control", columns]
    for value in (5, 10, 20, 50, 100):
        runs.loc[runs["arm"] == f"norm1-max_norm-{value}", columns] = control.to_numpy()
    text = put_into_words(
        work_out(findings.collected, findings.study, "clip_sweep", findings.provenance)
    )[1]
    assert "5, max_norm 10, max_norm 20, max_norm 50 and max_norm 100 nothing was ever" in short(
        text
    )
    assert "At max_norm 1: undecided: with 2 seeds" in short(text)
    rows = [line for line in text.splitlines() if "`norm1-max_norm-50`" in line and "same" in line]
    assert rows


def test_a_sweep_of_two_seeds_is_undecided(said):
    _, text = said("clip_sweep", seeds=[0, 1])
    assert "Undecided: with 2 seeds no value is told apart from `control`" in short(text)
    assert "artefact of clipping is therefore open" in short(text)


def test_failures_that_grow_with_depth_are_a_trend(said):
    outcomes = {("control-fno_blocks-8", seed): "exploded" for seed in SEEDS}
    outcomes |= {("control-fno_blocks-6", seed): "exploded" for seed in SEEDS[:4]}
    _, text = said("crash_hunt", outcomes=outcomes)
    assert "the first with a failed run is fno_blocks 6 (4 of 8)" in short(text)
    assert "failures become more frequent" in short(text)
    assert "8 of 8" in text and "at fno_blocks 8 the results differ" in short(text)


def test_stage_b_judges_every_condition_in_words_and_numbers(made):
    """The deep winner has the loss of the shallow one and a gradient under the bound of 40."""
    folder, text = made("stage_b", gradient={"stable" + DEEP: 30.0})
    verdicts = {
        v["condition"]: v
        for v in json.loads((folder / "findings.json").read_text())["verdicts"]
        if v["arm"] == "stable" + DEEP
    }
    assert {name: v["status"] for name, v in verdicts.items()} == {
        "no_failures": "met in these runs", "gradient_bounded": "met in these runs",
        "loss_matches": "met", "ssim_matches": "met",
    }  # fmt: skip
    assert (
        "the bound is 40.0, 10 times the largest 99th percentile"
        in verdicts["gradient_bounded"]["sentence"]
    )
    assert "![Gradient norm by epoch](gradient_norms.png)" in text
    assert (folder / "gradient_norms.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("plan", "condition"),
    [
        ({"gradient": {"stable" + DEEP: 50.0}}, "gradient_bounded"),
        ({"loss": {"control": 0.08, "stable": 0.06, "stable" + DEEP: 0.08}}, "loss_matches"),
        ({"outcomes": {("stable" + DEEP, 0): "exploded"}}, "no_failures"),
        ({"outcomes": {("stable" + DEEP, 0): "exploded"}}, "gradient_bounded"),
    ],
)
def test_stage_b_refuses_what_is_not_met(said, plan, condition):
    findings, _ = said("stage_b", **plan)
    status = {v.condition: v.status for v in findings.verdicts["stable" + DEEP]}
    assert status[condition] == "not met"


def test_a_control_that_wins_is_beside_no_other_arm(said):
    _, text = said("stage_b", winner="control")
    assert "Stage A's winner is the control itself" in short(text)


def test_stage_b_without_its_winner_is_an_error(plant, tmp_path):
    given = plant(stage="stage_b", seeds=[0])
    io.write_json(given["winner"], {})
    with pytest.raises(InputError, match="lacks 'winner'"):
        summarise_stage(**given, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_pivot_shows_every_cure_and_the_further_arm_at_depth(said):
    outcomes = {
        (arm + DEEP, seed): "non_finite" for arm in ("control", "stable", "agc") for seed in SEEDS
    }
    findings, text = said("pivot", outcomes=outcomes)
    for arm in ("stable", "agc"):
        assert f"`{arm}`: not met: no failure" in short(text)
    assert "`layerscale`: met in these runs: no failure" in short(text)
    assert "Its failure rate is lower than that of `control-fno_blocks-8` (better)" in short(text)
    assert len(findings.runs) == 7 * len(SEEDS)


# The whole study.


@pytest.fixture(scope="module")
def study(made, plant, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    stages = {name: made(name, seeds=[0, 1])[0] for name in ("stage_a", "clip_sweep", "stage_b")}
    decision = folder / "decision.json"
    io.write_json(decision, {
        "decision": "undecided", "headline": "Undecided: planted", "because": ["one reason"],
        "would_change": ["more seeds"], "rules": [],
    })  # fmt: skip
    given = {
        "findings": [path / "findings.json" for path in stages.values()],
        "decision": decision,
        "study": plant(seeds=[0, 1])["study"],
        "provenance": {
            "command": "snakemake study_summary",
            "commit": "abc",
            "platform": "p",
            "versions": {},
        },
    }
    summarise_study(**given, folder=folder / "out")
    return given, folder / "out", stages


def test_each_run_is_once_in_the_whole_study_with_its_stages(study):
    _, folder, stages = study
    runs = pd.read_csv(folder / "runs.csv")
    assert not runs.duplicated(["dataset", "arm", "seed"]).any()
    used = {path.name: pd.read_csv(path / "runs.csv") for path in stages.values()}
    for _, run in runs.iterrows():
        expected = [
            name for name, table in used.items()
            if ((table["arm"] == run["arm"]) & (table["seed"] == run["seed"])).any()
        ]  # fmt: skip
        assert run["stages"].split(";") == expected
    everyone = {
        key for table in used.values() for key in zip(table["arm"], table["seed"], strict=True)
    }
    assert len(runs) == len(everyone)
    history = pd.read_csv(folder / "history.csv")
    assert not history.duplicated(["dataset", "arm", "seed", "epoch"]).any()


def test_the_whole_studys_summary_has_decision_stages_and_baselines(study):
    _, folder, stages = study
    text = (folder / "summary.md").read_text()
    assert "**Undecided: planted.**" in text and "More seeds." in text
    for name in stages:
        assert f"(../{name}/summary.md)" in text
    assert "*constant image*" in text and "0.277" in text
    facts = json.loads((folder / "study.json").read_text())
    assert set(facts["stages"]) == set(stages)
    assert facts["baselines"]["triangle_n32"]["constant"]["amplitude_ssim"] == 0.277
    assert (folder / "overview.png").stat().st_size > 10_000


def test_the_whole_study_refuses_a_damaged_decision(study, tmp_path):
    given, _, _ = study
    io.write_json(tmp_path / "decision.json", {})
    with pytest.raises(InputError, match="lacks 'headline'"):
        summarise_study(**{**given, "decision": tmp_path / "decision.json"}, folder=tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_the_pivots_summary_shows_the_gradient_norms_and_their_bounds(said):
    _, text = said("pivot", seeds=[0, 1])
    assert "![Gradient norm by epoch](gradient_norms.png)" in text
    assert "`stable-fno_blocks-8` 40.0 (from `stable`)" in text
    assert "`layerscale-fno_blocks-8` 40.0 (from `control`)" in text


def test_the_margin_of_alike_is_the_sweeps_own(plant):
    """A third more loss is alike within 0.5 and not within 0.1."""
    loss = dict.fromkeys((f"norm1-max_norm-{v}" for v in (5, 10, 20, 50, 100)), 0.107)
    given = plant(stage="clip_sweep", seeds=SEEDS, loss={**loss, "norm1": 0.107, "control": 0.08})
    found = {}
    for margin in (0.1, 0.5):
        given["study"]["sweeps"]["clip_sweep"]["alike_within"] = margin
        found[margin] = short(put_into_words(work_out_of(given))[1])
    assert "Everywhere: at max_norm 1" in found[0.1]
    assert "No: at every value the loss is shown to be within 50 %" in found[0.5]
