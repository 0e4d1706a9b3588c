"""Planted studies come out as planted, and seldom otherwise; every rule says what it rests on."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import planted
import pytest

from ptycho_torch.config.read import load_yaml, parse_study
from ptycho_torch.report.decide.decision import decide, write_decision
from ptycho_torch.report.decide.rules import Runs
from ptycho_torch.report.decide.winner import find_winner, write_winner
from ptycho_torch.runtime.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data():
    return load_yaml(ROOT / "config" / "config.yaml")


def outcome(data, truth, seeds, number=0):
    study = planted.ten_arm_study(data, seeds)
    rng = np.random.default_rng([number, seeds])
    shallow, deep = (planted.planted_runs(study, truth, s, rng) for s in ("stage_a", "pivot"))
    return decide(Runs(study=study, shallow=shallow, at_depth=deep))


@pytest.mark.parametrize(
    ("truth", "seeds", "expected"),
    [("GOLD", 40, "gold"), ("SILVER", 30, "silver"), ("PIVOT", 10, "pivot")],
)
def test_a_planted_answer_comes_out_among_ten_arms(data, truth, seeds, expected):
    for number in range(3):
        found = outcome(data, getattr(planted, truth), seeds, number)
        assert found.decision == expected, (number, found.because)
        assert next(rule for rule in found.rules if rule.rule == expected).state == "met"


def test_without_enough_seeds_the_same_truths_are_undecided(data):
    """Two seeds cannot support Gold or Silver, whatever they show."""
    for truth in (planted.GOLD, planted.SILVER):
        found = outcome(data, truth, 2)
        assert found.decision == "undecided"
        assert found.would_change and found.headline.startswith("Undecided")


@pytest.mark.parametrize("failing", [0.0, 0.1, 0.5])
def test_ten_equal_arms_are_undecided(data, failing):
    """Ten studies each in which no arm differs; docs/study.md has the rate over many more.

    Where half of all runs fail at depth, both cures do fail there, and Pivot is the right answer.
    """
    truth = replace(planted.NULL, base_failure=failing)
    seen = [outcome(data, truth, 8, number).decision for number in range(10)]
    allowed = {"undecided", "pivot"} if failing == 0.5 else {"undecided"}
    assert set(seen) <= allowed


def test_a_better_loss_alone_is_no_gold(data):
    """Failing as seldom as the control is not failing less."""
    truth = planted.Truth(loss={"stable": 0.5})
    found = outcome(data, truth, 12)
    gold = next(rule for rule in found.rules if rule.rule == "gold")
    assert found.decision == "undecided"
    assert [item.state for item in gold.conditions] == ["met", "undecided", "undecided", "met"]
    assert gold.conditions[1].seeds_needed is not None


def test_a_worse_loss_refutes_gold_and_costs_silver(data):
    truth = planted.Truth(
        base_failure=0.5, failure={"agc": 0.01, "stable": 0.01}, loss={"agc": 1.5, "stable": 1.5}
    )
    found = outcome(data, truth, 40)
    states = {rule.rule: rule.state for rule in found.rules}
    assert (found.decision, states["gold"], states["silver"]) == (
        "undecided", "not met", "not met",
    )  # fmt: skip
    assert any("Gold is refuted" in line for line in found.because)


def test_pivot_needs_every_cure_to_fail(data):
    """One cure that holds at depth is enough to go on with."""
    truth = replace(planted.PIVOT, failure={**planted.PIVOT.failure, "agc@8": 0.0})
    assert outcome(data, truth, 10).decision != "pivot"


def test_pivot_comes_before_silver(data):
    """A cure that is shown to fail at depth is not recommended for what it does in Stage A."""
    truth = replace(planted.SILVER, failure={"agc": 0.01, "agc@8": 0.9, "stable@8": 0.9})
    found = outcome(data, truth, 30)
    assert {rule.rule: rule.state for rule in found.rules}["silver"] == "met"
    assert found.decision == "pivot"


# Winner of Stage A.


def small_study(data, arms, seeds):
    return parse_study(
        {**data, "stage_a": {**data["stage_a"], "arms": arms, "seeds": seeds}}, "planted"
    )


def runs_of(arms):
    """Return a table of runs: arm -> its losses, None for a failed run."""
    rows = [
        {
            "dataset": "triangle_n32", "arm": arm, "seed": seed, "failed": loss is None,
            "outcome": "exploded" if loss is None else "completed",
            "val_loss_name": "mae_val_loss", "best_val_loss": loss, "best_mae_val_loss": loss,
        }
        for arm, losses in arms.items()
        for seed, loss in enumerate(losses)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_winner_has_the_lowest_median_among_those_not_shown_to_fail_more(data):
    """One failure more is no reason to drop out; ten of ten against none is."""
    study = small_study(data, ["control", "stable", "agc"], 10)
    few = runs_of({
        "control": [0.10] * 9 + [None], "stable": [0.2] * 10, "agc": [0.3] * 10,
    })  # fmt: skip
    assert find_winner(few, study)["winner"] == "control"
    many = runs_of({
        "control": [0.10] + [None] * 9, "stable": [0.2] * 10, "agc": [0.3] * 10,
    })  # fmt: skip
    found = find_winner(many, study)
    assert (found["winner"], found["dropped"]) == ("stable", ["control"])
    assert "beyond chance" in found["sentence"]


def test_ties_go_by_name_and_a_study_of_failures_has_a_winner(data):
    study = small_study(data, ["control", "stable", "agc"], 2)
    equal = runs_of({arm: [0.1, 0.3] for arm in ("control", "stable", "agc")})
    assert find_winner(equal, study)["winner"] == "agc"
    lost = runs_of({arm: [None, None] for arm in ("control", "stable", "agc")})
    assert find_winner(lost, study)["winner"] == "agc"
    one = runs_of({"control": [None, 0.5], "stable": [None, None], "agc": [None, None]})
    assert find_winner(one, study)["winner"] == "control"


# Files.


@pytest.fixture
def files(data, tmp_path):
    """Write the tables of a planted study; return what `write_decision` takes."""
    study = planted.ten_arm_study(data, 6)
    rng = np.random.default_rng(0)
    for stage in ("stage_a", "pivot"):
        planted.planted_runs(study, planted.GOLD, stage, rng).to_csv(
            tmp_path / f"{stage}.csv", index=False
        )
    write_winner(tmp_path / "stage_a.csv", study.model_dump(mode="json"), tmp_path / "winner.json")
    return SimpleNamespace(folder=tmp_path, keywords={
        "stage_a": tmp_path / "stage_a.csv", "pivot": tmp_path / "pivot.csv",
        "winner": tmp_path / "winner.json", "study": study.model_dump(mode="json"),
        "provenance": {"command": "snakemake study_summary", "commit": "abc", "platform": "p", "versions": {}},
        "outputs": {"data": tmp_path / "decision.json", "prose": tmp_path / "decision.md"},
    })  # fmt: skip


def test_the_decision_is_data_and_prose_that_agree(files):
    write_decision(**files.keywords)
    data = json.loads((files.folder / "decision.json").read_text())
    text = (files.folder / "decision.md").read_text()
    assert data["decision"] == "undecided"
    assert text.startswith(f"# {data['headline']}")
    for rule in data["rules"]:
        assert f"### {rule['rule'].capitalize()}: {rule['state']}" in text
        for item in rule["conditions"]:
            assert item["condition"] in text and item["sentence"] in text
    for line in data["would_change"]:
        assert line[1:] in text
    assert "What would change it" in text and "small" in text


def test_a_foreign_or_damaged_table_is_refused_and_nothing_is_written(files):
    table = pd.read_csv(files.folder / "pivot.csv")
    changes = {
        "does not hold the runs of pivot": table.iloc[1:],
        "lacks the column 'failed'": table.drop(columns="failed"),
    }
    for message, changed in changes.items():
        changed.to_csv(files.folder / "pivot.csv", index=False)
        with pytest.raises(InputError, match=message):
            write_decision(**files.keywords)
    assert not (files.folder / "decision.json").exists()


def test_a_study_without_a_decision_is_told_so(files):
    files.keywords["study"]["decision"] = None
    with pytest.raises(InputError, match="no block 'decision'"):
        write_decision(**files.keywords)
