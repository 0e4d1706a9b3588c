"""Sweeps, Stage B, the pivot and the whole study: planted answers come out in words and files."""

import dataclasses

import pandas as pd
import pytest
from matplotlib.text import Text
from tests.report.planted_runs import LOSS, PROVENANCE, Run

from ptycho_torch.files import io
from ptycho_torch.report.figures.stage import reconstructions
from ptycho_torch.report.summarise.stage import put_into_words, summarise_stage, work_out
from ptycho_torch.report.summarise.study import summarise_study
from ptycho_torch.statistics.scores import BLOCK_NAMES

SEEDS, DEEP, ARMS = list(range(8)), "-fno_blocks-8", list(LOSS)
VALUES = [f"norm1-max_norm-{value}" for value in (0.1, 0.3, 3)]
THIRD_MORE = {**dict.fromkeys(["norm1", *VALUES], 0.107), "control": 0.08}
LIKE_CONTROL = {**dict.fromkeys(["norm1", *VALUES], 0.081), "control": 0.08}


@pytest.fixture(scope="module")
def made(plant, tmp_path_factory):
    """Return a function that plants a stage and summarises it: its folder and its text."""

    def make(stage, **plan):
        folder = tmp_path_factory.mktemp("results") / stage
        summarise_stage(**plant(stage=stage, **{"seeds": SEEDS, **plan}), folder=folder)
        return folder, (folder / "summary.md").read_text()

    return make


def short(values):
    return "\n".join(put_into_words(values)[0])


def failing(outcome, *arms, seeds=SEEDS):
    return {(arm, seed): outcome for arm in arms for seed in seeds}


def words_in(figure):
    return [text for item in figure.findobj(Text) if (text := item.get_text())]


@pytest.mark.parametrize(
    ("stage", "plan", "expected"),
    [
        # A value whose interval of ratios lies within the margin is alike; one that excludes 1 apart.
        ("clip_sweep", {"loss": LIKE_CONTROL, "alike_within": 0.2}, ["within 20 % at max_norm 0.1", "nothing is claimed"]),
        ("clip_sweep", {"loss": LIKE_CONTROL | {"norm1": 0.16}}, ["apart at max_norm 1;"]),
        # The margin is the sweep's own.
        ("clip_sweep", {"loss": THIRD_MORE, "alike_within": 0.6}, ["within 60 % at max_norm 0.1,"]),
        ("clip_sweep", {"seeds": [0, 1]}, ["open at max_norm 0.1,"]),
        ("crash_hunt", {"outcomes": failing("exploded", "control" + DEEP)
         | failing("exploded", "control-fno_blocks-6", seeds=SEEDS[:4])},
         ["The first value with a failed run is fno_blocks 6, 4 of 8 (16 % to",
          "apart at fno_blocks 6 and fno_blocks 8"]),
        ("stage_b", {"winner": "control"}, ["Stage A's winner is the control itself"]),
        ("pivot", {"outcomes": failing("non_finite", "control" + DEEP, "stable" + DEEP, "agc" + DEEP)},
         [f"`stable{DEEP}`, in these runs: not met: no failure",
          f"`layerscale{DEEP}`, in these runs: met: no failure",
          f"Supported, better: `layerscale{DEEP}` against `stable{DEEP}`",
          f"Supported, better: `layerscale{DEEP}` against `agc{DEEP}`"]),
    ],
)  # fmt: skip
def test_a_stage_answers_its_question(values_of, stage, plan, expected):
    answer = short(values_of(stage=stage, **{"seeds": SEEDS, **plan}))
    assert [words for words in expected if words not in answer] == []


def test_values_that_never_clip_are_the_controls_own_runs(values_of):
    """Equal to the last digit needs no test, also with two seeds."""
    collected = values_of(stage="clip_sweep", seeds=[0, 1])["f"]
    runs = collected.runs.copy()
    columns = [column for column in runs if column not in ("arm", "clipped_share")]
    for value in VALUES:
        runs.loc[runs["arm"] == value, columns] = runs.loc[
            runs["arm"] == "control", columns
        ].to_numpy()
    values = work_out(dataclasses.replace(collected, runs=runs), PROVENANCE)
    said = short(values)
    assert (
        "At max_norm 0.1, max_norm 0.3 and max_norm 3 these runs have, seed by seed, the very numbers"
        in said
    )
    assert "`norm1-max_norm-3` | same: " in put_into_words(values)[1]["summary.md"]


STUDY = ("stage_a", "clip_sweep", "stage_b")


@pytest.fixture(scope="module")
def study(made, plant, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    stages = {name: made(name, seeds=[0, 1])[0] for name in STUDY}
    decided = {"headline": "Undecided: planted", "would_change": []}
    io.write_json(folder / "decision.json", decided)
    given = {
        "findings": [path / "findings.json" for path in stages.values()],
        "decision": folder / "decision.json",
        "study": plant(seeds=[0, 1])["study"],
        "provenance": PROVENANCE,
    }
    summarise_study(**given, folder=folder / "out")
    return given, folder / "out", stages


def test_a_stage_without_a_run_to_show_has_its_figure(values_of, monkeypatch):
    """Runs of which no epoch ended are shown without values; runs without any score are not."""
    stopped = values_of(seeds=[0, 4], outcomes=failing("non_finite", *ARMS, seeds=[0, 4]))
    assert words_in(reconstructions(stopped["f"])).count("no values") == len(ARMS)
    planted = Run.metrics
    unscored = {"best": dict.fromkeys(BLOCK_NAMES)}
    monkeypatch.setattr(Run, "metrics", lambda self: planted(self) | unscored)
    assert words_in(reconstructions(values_of(seeds=[0, 5])["f"])) == ["no run to show"]


def test_rpie_is_in_both_rows_of_reconstructions(values_of):
    shown = words_in(reconstructions(values_of(seeds=[0], conventional=True)["f"]))
    assert shown[1] == "rPIE, not trained\nSSIM 0.999"
    assert sum(title.startswith("rPIE") for title in shown) == 2


def test_each_run_is_once_in_the_whole_study_with_its_stages(study):
    _, folder, stages = study
    key = ["dataset", "arm", "seed"]
    runs = pd.read_csv(folder / "runs.csv")
    used = {name: pd.read_csv(path / "runs.csv")[key] for name, path in stages.items()}
    each = pd.concat([table.assign(stages=name) for name, table in used.items()])
    expected = each.groupby(key)["stages"].agg(";".join)
    assert runs.set_index(key)["stages"].sort_index().equals(expected.sort_index())
    assert not pd.read_csv(folder / "history.csv").duplicated([*key, "epoch"]).any()


def test_the_whole_studys_summary_has_decision_stages_and_baselines(study):
    _, folder, stages = study
    sweep = (stages["clip_sweep"] / "summary.md").read_text()
    assert "`norm1-max_norm-3` | open: composite loss" in sweep
    text = (folder / "summary.md").read_text()
    assert "- Decision: Undecided: planted" in text
    for name in stages:
        assert f"(../{name}/summary.md)" in text
    assert "*constant image*" in text and "0.277" in text
    assert (folder / "overview.png").stat().st_size > 10_000


def test_the_lowest_median_is_named_first(values_of):
    """Arms within rounding of it follow, whatever their order in the study."""
    loss = {"control": 0.0604, "stable": 0.060, "agc": 0.0602, "norm1": 0.1}
    answer, _ = put_into_words(values_of(seeds=[0, 1], loss=loss))
    said = next(line for line in answer if "lowest median" in line)
    assert said.index("`stable`, n") < said.index("within 2 %") < said.index("`control` with")
    assert "norm1" not in said
