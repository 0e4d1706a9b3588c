"""The stress stage against curves whose A, R and W are known."""

import numpy as np
import pandas as pd
import pytest

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.config.plan import StagePlan
from ptycho_torch.config.study import GridPoint
from ptycho_torch.statistics.runs import composite_losses
from ptycho_torch.statistics.stress import tuned_losses, work_out_stress

RATES, CONSTANT = (0.001, 0.003, 0.009, 0.027, 0.081), 0.3
FAILED = None
# The control breaks at the fourth rate, `stable` nowhere, `dead` learns nothing.
CURVES = {
    "control": (0.1, 0.1, 0.2, FAILED, FAILED),
    "stable": (0.15, 0.1, 0.1, 0.1, 0.25),
    "dead": (FAILED,) * 5,
}


def worked_out(curves, rates=RATES, seeds=6, depths=(4,), spread=0.001, scale=1.0):
    """Return the stress stage of planted curves; odd seeds lie above even ones by the spread."""
    grid, rows = [], []
    for arm, losses in curves.items():
        for depth in depths:
            for rate, loss in zip(rates, losses, strict=True):
                name = f"{arm}-{depth}-{rate}"
                grid.append(GridPoint(name, arm, depth, rate))
                rows += [
                    {
                        "arm": name, "seed": seed, "failed": loss is FAILED,
                        "composite_loss": scale
                        * (CONSTANT if loss is FAILED else loss + spread * (seed % 2)),
                    }
                    for seed in range(seeds)
                ]  # fmt: skip
    plan = StagePlan(
        name="stress", title="", question="", dataset="", control="", arms=(), seed_list=(),
        pairs=(), primary=tuple((arm, "control") for arm in curves if arm != "control"),
        level=0.05, grid=tuple(grid),
    )  # fmt: skip
    return work_out_stress(pd.DataFrame(rows), plan, scale * CONSTANT, StatisticsSettings())


def curve(found, arm):
    return next(item for item in found.curves if item.arm == arm)


def test_a_r_and_w_are_those_of_the_planted_curves():
    """Even steps: the trapezoid is the mean with half weight at the ends."""
    found = worked_out(CURVES, spread=0.0, depths=(4, 8))  # Averaged over depths.
    assert found.areas["control"] == pytest.approx([(0.05 + 0.1 + 0.2 + 0.3 + 0.15) / 4] * 6)
    assert found.areas["stable"] == pytest.approx([(0.075 + 0.3 + 0.125) / 4] * 6)
    control, stable, dead = (curve(found, arm) for arm in CURVES)
    assert (control.relative, stable.relative) == pytest.approx((0.5, 0.125))
    # W measures against the arm's own best: an arm that never learns rises by nothing.
    assert (control.rise, dead.relative, dead.rise) == (pytest.approx(0.5), 1.0, None)
    assert dead.best_loss == CONSTANT


def test_each_arm_breaks_where_it_was_planted_to():
    found = worked_out(CURVES)
    control, stable, dead = (curve(found, arm) for arm in CURVES)
    assert (control.bears, control.breaks, control.failures, control.runs) == (0.009, 0.027, 6, 6)
    assert (stable.bears, stable.breaks, stable.failures) == (0.081, None, None)
    assert (dead.bears, dead.breaks) == (None, 0.001)
    assert (stable.best_rate, stable.best_loss) == (0.003, pytest.approx(0.1005))


def test_the_claim_is_of_a_by_seed_and_is_tried_without_each_rate():
    found = worked_out(CURVES, spread=1e-6)
    stable, dead = found.comparisons
    assert (stable.state, dead.state, stable.family, stable.n) == ("lower", "higher", 2, 6)
    assert stable.p == pytest.approx(2 / 924) and stable.p_holm == pytest.approx(4 / 924)
    assert stable.mean == pytest.approx(0.125 - 0.2, abs=1e-5)
    without = {rate: item for rate, item in found.without if item.arm == "stable"}
    assert set(without) == set(RATES)
    # One step of two then: (0.1 + 0.15 + 2 * 0.25) / 4 against (0.125 + 0.1 + 2 * 0.175) / 4.
    assert without[0.027].mean == pytest.approx(0.14375 - 0.1875, abs=1e-5)
    assert worked_out(CURVES, seeds=3).comparisons[0].state == "undecided"


def test_units_of_rate_and_loss_change_nothing_and_range_does():
    found = worked_out(CURVES)
    for other in (worked_out(CURVES, [1000 * r for r in RATES]), worked_out(CURVES, scale=50.0)):
        for mine, theirs in zip(found.curves, other.curves, strict=True):
            assert mine.relative == pytest.approx(theirs.relative)
        assert other.comparisons[0].p == found.comparisons[0].p
    # A rate in the middle of a straight piece adds nothing: 0.1 to 0.2 through 0.15.
    finer = {**CURVES, "control": (0.1, 0.1, 0.15, 0.2, FAILED, FAILED)}
    finer |= {"stable": (0.15, 0.1, 0.1, 0.1, 0.1, 0.25), "dead": (FAILED,) * 6}
    rates = (*RATES[:2], float(np.sqrt(RATES[1] * RATES[2])), *RATES[2:])
    assert worked_out(finer, rates).areas["control"] == pytest.approx(found.areas["control"])
    shorter = {arm: losses[:4] for arm, losses in CURVES.items()}
    assert curve(worked_out(shorter, RATES[:4]), "control").relative < 0.5


@pytest.mark.parametrize(
    ("control", "rates", "gaps"),
    [
        (CURVES["control"], RATES, ()),
        ((0.1, 0.1, 0.1, 0.1, 0.1), RATES, ((4, "bears the highest", 0.26),)),
        ((FAILED, 0.1, 0.1, 0.1, FAILED), RATES, ((4, "fails at the lowest", 0.00032),)),
        ((0.1, 0.1, FAILED), (0.001, 0.01, 0.03), ((0, "wide", 0.0032),)),
    ],
)
def test_a_grid_that_misses_an_edge_is_told_with_the_rate_to_add(control, rates, gaps):
    assert worked_out({"control": control, "other": control}, rates).gaps == gaps


def test_the_own_best_rate_is_chosen_on_other_seeds():
    """Luck at one rate and seed chooses for the others, never for itself."""
    rows = []
    for seed in range(3):
        for rate, loss in zip((1.0, 2.0), (0.1, 0.01 if seed == 0 else 0.15), strict=True):
            rows.append({"arm": "a", "depth": 4, "rate": rate, "seed": seed, "loss": loss})
    chosen = tuned_losses(pd.DataFrame(rows)).set_index("seed")["tuned_loss"]
    # Others of seed 0 prefer the first rate; those of seeds 1 and 2 are drawn to the lucky one.
    assert chosen.tolist() == [0.1, 0.15, 0.15]


def test_a_run_without_a_usable_loss_counts_as_the_constant_object():
    runs = pd.DataFrame({
        "val_loss_name": ["mae_val_loss"] * 4 + ["poisson_val_loss"],
        "last_val_loss": [0.1, 0.1, np.nan, 0.5, -7.0],
        "best_mae_val_loss": [0.05, 0.05, np.nan, 0.05, 0.2],
        "failed": [False, True, False, False, False],
    })  # fmt: skip
    assert composite_losses(runs, 0.3).tolist() == [0.1, 0.3, 0.3, 0.3, 0.2]
