"""Sweeps, Stage B, the pivot, the whole study: planted answers come out in words and files; what is
claimed and what is only described: two seeds carry no claim, eight a clear one."""

import dataclasses
import math
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from tests.report.planted_runs import BLOCK_NAMES, LOSS, PROVENANCE, Run

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.files import io
from ptycho_torch.report.figures import reconstructions
from ptycho_torch.report.page import publish_page
from ptycho_torch.report.rendering import say
from ptycho_torch.report.summarise.stage import put_into_words, summarise_stage, work_out
from ptycho_torch.report.summarise.study import summarise_study
from ptycho_torch.runtime.markdown import number, p_text, percent
from ptycho_torch.statistics.compare import seeds_needed

SEEDS, DEEP, ARMS = list(range(8)), "-fno_blocks-8", list(LOSS)
VALUES = [f"norm1-max_norm-{value}" for value in (0.1, 0.3, 3)]
THIRD_MORE = {**dict.fromkeys(["norm1", *VALUES], 0.107), "control": 0.08}
LIKE_CONTROL = {**dict.fromkeys(["norm1", *VALUES], 0.081), "control": 0.08}


def short(values):
    return put_into_words(values)["summary.md"]


def failing(outcome, *arms, seeds=SEEDS):
    return {(arm, seed): outcome for arm in arms for seed in seeds}


@pytest.mark.parametrize(
    ("stage", "plan", "expected"),
    [
        # A value whose interval of ratios lies within the margin is alike; one that excludes 1 apart.
        ("clip_sweep", {"loss": LIKE_CONTROL, "alike_within": 0.2}, ["within 20 % at max_norm 0.1", "nothing is claimed"]),
        ("clip_sweep", {"loss": LIKE_CONTROL | {"norm1": 0.16}}, ["apart (1 is excluded) at max_norm 1;"]),
        # The margin is the sweep's own.
        ("clip_sweep", {"loss": THIRD_MORE, "alike_within": 0.6}, ["within 60 % at max_norm 0.1,"]),
        ("clip_sweep", {"seeds": [0, 1]}, ["open at max_norm 0.1,"]),
        ("crash_hunt", {"outcomes": failing("exploded", "control" + DEEP)
         | failing("exploded", "control-fno_blocks-6", seeds=SEEDS[:4])},
         ["The first value with a failed run is fno_blocks 6, 4 of 8 (16 % to",
          "apart (1 is excluded) at fno_blocks 6 and fno_blocks 8"]),
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
    control = runs.loc[runs["arm"] == "control", columns].to_numpy()
    for value in VALUES:
        runs.loc[runs["arm"] == value, columns] = control
    values = work_out(dataclasses.replace(collected, runs=runs), PROVENANCE)
    same = "At max_norm 0.1, max_norm 0.3 and max_norm 3 the mean composite loss is exactly"
    assert f"{same} `control`" in short(values)


STUDY = ("stage_a", "clip_sweep", "stage_b")


@pytest.fixture(scope="module")
def study(plant, tmp_path_factory):
    """The folders of a whole study's summary, and of its stages by their names."""
    folder = tmp_path_factory.mktemp("study")
    stages = {name: folder / name for name in STUDY}
    for name, out in stages.items():
        summarise_stage(**plant(stage=name, seeds=[0, 1]), folder=out)
    decision = folder / "decision.json"
    io.write_json(decision, {"headline": "Undecided: planted", "would_change": []})
    findings = [path / "findings.json" for path in stages.values()]
    more = {"study": plant(seeds=[0, 1])["study"], "provenance": PROVENANCE}
    summarise_study(findings=findings, decision=decision, **more, folder=folder / "out")
    return folder / "out", stages


def test_runs_without_values_or_scores_are_shown(values_of, monkeypatch):
    def words_in(figure):
        return [text for item in figure.findobj(Text) if (text := item.get_text())]

    stopped = values_of(seeds=[0, 4], outcomes=failing("non_finite", *ARMS, seeds=[0, 4]))
    assert words_in(reconstructions(stopped["f"])).count("no values") == len(ARMS)
    planted = Run.metrics
    unscored = {"best": dict.fromkeys(BLOCK_NAMES)}
    monkeypatch.setattr(Run, "metrics", lambda self: planted(self) | unscored)
    said = "".join(words_in(reconstructions(values_of(seeds=[0, 5])["f"])))
    assert said.count("completed, SSIM not defined") == len(ARMS)


def test_each_run_is_once_in_the_whole_study_with_its_stages(study):
    folder, stages = study
    key = ["dataset", "arm", "seed"]
    runs = pd.read_csv(folder / "runs.csv")
    used = {name: pd.read_csv(path / "runs.csv")[key] for name, path in stages.items()}
    each = pd.concat([table.assign(stages=name) for name, table in used.items()])
    expected = each.groupby(key)["stages"].agg(";".join)
    assert runs.set_index(key)["stages"].sort_index().equals(expected.sort_index())


def test_the_whole_studys_summary_has_decision_stages_and_baselines(study):
    folder, stages = study
    text = (folder / "summary.md").read_text()
    assert "\n\n**Undecided: planted.**\n\n|" in text
    ranked = re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", text, re.M)[: len(ARMS)]
    assert sorted(ranked, key=lambda row: float(row[1])) == ranked and ranked[0][0] == "stable"
    for name in stages:
        assert f"(../{name}/summary.md)" in text
    assert "*constant image*" in text and "0.277" in text
    assert (folder / "overview.png").stat().st_size > 10_000


def test_the_page_opens_with_decision_ranking_and_images_and_is_read_on_a_phone(study, browser):
    """Before any prose; in the dark; without the network; at most 6 MB."""
    folder, stages = study
    io.write_text(folder / "decision.md", "# Undecided: planted\n\nWhy.\n")
    parts = [folder / "summary.md", folder / "decision.md", stages["stage_a"] / "summary.md"]
    publish_page(parts, page := folder.parent / "index.html")
    assert page.stat().st_size < 6e6 / 8  # A study has up to eight such stages.
    opening = (
        "return [...document.querySelector('section').children].slice(0, 6).map(e => e.outerHTML)"
    )
    whole = "return [...document.images].every(i => i.complete && i.naturalWidth > 500)"
    colours = set()
    for width, scheme in ((390, "dark"), (1280, "light")):
        browser.open(page, width=width, scheme=scheme)
        title, decision, ranking, *images, words = browser.js(opening)
        assert title.startswith("<h1>")
        assert decision == "<p><strong>Undecided: planted.</strong></p>"
        assert ranking.startswith("<table>") and "rPIE" not in title + decision
        assert all(image.startswith('<p><img src="data:') for image in images) and len(images) == 2
        assert words.startswith("<h2>")
        assert browser.js(whole)
        # Not against innerWidth, which grows with what is too wide on a phone.
        assert browser.js("return document.documentElement.scrollWidth") <= width
        colours.add(browser.js("return getComputedStyle(document.body).backgroundColor"))
        assert browser.console_errors() == []
        assert {at.partition(":")[0] for at in browser.requests()} <= {"file", "data"}
    assert len(colours) == 2


SETTINGS = StatisticsSettings()
TWO_SEEDS = {"seeds": [0, 1]}
FAILING = {"seeds": SEEDS, "outcomes": failing("exploded", "control")}
STAGE_B = {"seeds": [0, 1], "stage": "stage_b"}
STOPPED = {**STAGE_B, "outcomes": {("stable" + DEEP, 0): "exploded"}}


def with_loss(**loss):
    return {"seeds": [0, 1], "loss": {**LOSS, **loss}}


def claim(values, arm):
    return next(item for item in values["claims"] if item.arm == arm)


@pytest.mark.parametrize(
    ("plan", "arm", "condition", "status", "words"),
    [
        (TWO_SEEDS, "stable", "lowest_loss", "met", "(stable)"),
        (TWO_SEEDS, "agc", "fewer_failures_than_control", "not met", "0 of 2 of the control"),
        (with_loss(agc=0.08 * 1.2), "agc", "max_loss_increase", "not met", "1.20 times that of"),
        (FAILING, "control", "negative_control", "met", "8 of 8 runs failed"),
        (FAILING, "agc", "max_loss_increase", "open", "no successful run has the number"),
        (FAILING, "stable", "lowest_failure_rate", "met", "0 of 8 runs failed"),
        # The deep winner has the loss of the shallow one and a gradient under the bound of 40.
        ({**STAGE_B, "gradient": {"stable" + DEEP: 30.0}}, "stable" + DEEP, "gradient_bounded",
         "met", "the bound is 40.0, 10 times the largest of a run of stable"),
        ({**STAGE_B, "gradient": {"stable" + DEEP: 50.0}}, "stable" + DEEP, "gradient_bounded",
         "not met", "an epoch is 50.0; the bound is 40.0"),
        (STAGE_B, "stable" + DEEP, "ssim_matches", "met", "from that of stable"),
        ({**with_loss(**{"stable" + DEEP: 0.08}), "stage": "stage_b"}, "stable" + DEEP,
         "loss_matches", "not met", "the median loss is 1.33 times that of stable"),
        (STOPPED, "stable" + DEEP, "gradient_bounded", "not met", "1 run ended in NaN or explo"),
    ],
)  # fmt: skip
def test_a_hypothesis_is_described_in_these_runs(values_of, plan, arm, condition, status, words):
    found = {(v.arm, v.condition): v for v in values_of(**plan)["verdicts"]}[arm, condition]
    assert found.status == status
    assert words in say("verdict", found)


def test_a_stage_claims_only_of_arms_that_ask_and_counts_failures(values_of):
    """`norm1` sets no condition: it is exploratory, and no failure makes a claim of it."""
    values = values_of(**FAILING)
    assert [(item.arm, item.state) for item in values["claims"]] == [
        ("stable", "lower"), ("agc", "lower"),
    ]  # fmt: skip
    stable = claim(values, "stable")
    # All eight of the control count as the constant object's 0.289.
    assert stable.interval.high < 0 and stable.p == pytest.approx(2 / 12_870)
    assert (stable.level, stable.family) == (0.02, 2)
    assert say("answered", stable, SETTINGS).startswith("Supported, better: `stable` against")
    assert all(item.level is None and item.state == "undecided" for item in values["exploratory"])
    assert {item.arm for item in values["exploratory"]} == {"stable", "agc", "norm1"}
    for item in values_of(**TWO_SEEDS)["claims"]:  # However large the difference.
        assert (item.state, item.n, item.seeds) == ("undecided", 2, None)
        assert "so few runs can show nothing" in say("answered", item, SETTINGS)
    worse = values_of(seeds=SEEDS, outcomes=failing("collapsed", "stable"))
    assert say("answered", claim(worse, "stable"), SETTINGS).startswith("Supported, worse")


def test_an_undecided_claim_says_what_would_decide_it(values_of):
    values = values_of(seeds=SEEDS)
    agc = claim(values, "agc")
    losses = values["f"].runs.groupby("arm")["composite_loss"]
    logs = (np.log(losses.get_group(arm)) for arm in ("agc", "control"))
    asked = {"of_interest": math.log(1.1), "level": agc.level / 2, "settings": SETTINGS}
    expected = seeds_needed(*logs, **asked)
    assert agc.seeds == expected
    assert f"{expected.of_interest} show a difference of 10 %" in say("answered", agc, SETTINGS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (number(0.0123456), "0.0123"), (number(0.9996), "1.00"), (number(17202402), "1.72e+07"),
        (number(12345.0), "12,345"), (number(0), "0"), (number(None), "not defined"),
        (number(float("nan")), "not defined"), (number(99.97), "100"),
        (percent(0.0), "0 %"), (percent(0.004), "0.40 %"), (percent(0.996), "99.6 %"),
        (p_text(0.0004), "p < 0.001"), (p_text(None), "p not defined"),
    ],
)  # fmt: skip
def test_numbers_have_sensible_digits_and_do_not_round_to_certainty(text, expected):
    assert text == expected
