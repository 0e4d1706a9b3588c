"""Each undecided comparison says how many seeds would decide it; a decided one does not."""

import pandas as pd
import pytest

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.config.read import parse_study
from ptycho_torch.report.summarise.collect import StageFiles
from ptycho_torch.report.summarise.report import results
from ptycho_torch.report.summarise.stage import work_out
from ptycho_torch.report.summarise.tables import comparisons_table
from ptycho_torch.report.wording import seeds_short
from ptycho_torch.statistics import compare
from ptycho_torch.statistics.power import seeds_for_difference, seeds_for_rates


@pytest.fixture(scope="module")
def findings(plant):
    """Four seeds; the control fails in two of them, `norm1` in all."""
    outcomes = {("control", seed): "exploded" for seed in (0, 1)}
    outcomes |= {("norm1", seed): "collapsed" for seed in range(4)}
    given = plant(seeds=[0, 1, 2, 3], outcomes=outcomes)
    study, stage, provenance = (given.pop(key) for key in ("study", "stage", "provenance"))
    return work_out(StageFiles(**given), parse_study(study, "test"), stage, provenance)


def test_undecided_comparisons_ask_for_seeds_in_the_whole_family(findings):
    settings = StatisticsSettings()
    stable = next(c for c in findings.comparisons if c.arm == "stable")
    mine, theirs = compare.paired_values(findings.runs, "stable", "control", stable.score)
    expected = seeds_for_difference(mine - theirs, family=3, settings=settings)
    assert stable.seeds == expected
    assert stable.seeds.seeds >= 7
    rates = next(c for c in findings.failure_tests if c.arm == "stable")
    assert rates.seeds == seeds_for_rates((0, 4), (2, 4), family=3, settings=settings)
    norm1 = next(c for c in findings.comparisons if c.arm == "norm1")
    assert seeds_short(norm1.seeds, settings).startswith("no number")


def test_a_decided_comparison_has_no_number():
    runs = pd.DataFrame(
        {
            "arm": ["a"] * 9 + ["b"] * 9,
            "seed": [*range(9)] * 2,
            "failed": [False] * 9 + [True] * 8 + [False],
            "loss": range(18),
        }
    )
    (found,) = compare.compare_failures(runs, [("a", "b")], StatisticsSettings())
    assert (found.state, found.seeds) == ("lower", None)


def test_the_table_keeps_whole_numbers_and_leaves_the_rest_empty(findings, tmp_path):
    items = [*findings.comparisons, *findings.failure_tests]
    table = comparisons_table(items, StatisticsSettings())
    assert [None if pd.isna(n) else n for n in table["seeds_needed"]] == [
        item.seeds.seeds if item.seeds else None for item in items
    ]
    table.to_csv(tmp_path / "comparisons.csv")
    assert ".0" not in "".join(
        pd.read_csv(tmp_path / "comparisons.csv", dtype=str)["seeds_needed"].dropna()
    )


def test_the_summary_shows_the_number_or_the_reason_and_how_rough_it_is(findings):
    text = results.differences(findings)
    assert text.count("| seeds that would decide it |") == 2
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    items = [*findings.comparisons, *findings.failure_tests]
    cells = [row.split("|")[-2].strip() for row in rows]
    assert cells == [seeds_short(item.seeds, StatisticsSettings()) or "decided" for item in items]
    assert "with 80 % probability in 2,000 simulated studies" in text
    assert "this is rough" in text
