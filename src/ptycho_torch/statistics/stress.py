"""The stress stage: how well an arm learns over a grid of learning rates, and where it breaks.

A run's loss is the composite one, so that a failed run counts as having learned nothing. Of each
arm and seed, A is the mean loss over the logarithm of the rate, averaged over depths.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import scipy

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.config.plan import StagePlan
from ptycho_torch.statistics import compare
from ptycho_torch.statistics.compare import Comparison
from ptycho_torch.statistics.scores import AREA, COMPOSITE, TUNED

# Half a decade, the field's step; a wider one may miss where an arm breaks.
_STEP = math.sqrt(10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Loss against rate of one arm at one depth; descriptive.

    area: mean of A over seeds; relative: R = (A - l) / (C - l), l the lowest mean loss of any arm
    on the grid at this depth, C that of the best constant object: 0 best everywhere, 1 learned
    nothing; rise: W = (A - m) / (C - m), m the arm's own lowest mean; best_rate, best_loss: where
    that is; bears: largest rate at which every seed succeeds, None if there is none; breaks: the
    next one, None beyond the grid; failures, runs: there.
    Wortsman et al. (2023), arXiv:2309.14322 (W, there the learning-rate sensitivity).
    """

    arm: str
    depth: int
    area: float
    relative: float | None
    rise: float | None
    best_rate: float
    best_loss: float
    bears: float | None
    breaks: float | None
    failures: int | None
    runs: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stress:
    """What the stress stage shows.

    points: a row per arm, depth, rate and seed, with `loss` and `failed`; areas: arm -> A by seed;
    comparisons: of A, the stage's primary family; without: a rate, and each of them without it;
    tuned: at each arm's own best rate, chosen on the other seeds; gaps: what the grid misses, as
    (depth, kind, rate to add).
    """

    points: pd.DataFrame
    areas: Mapping[str, Sequence[float]]
    curves: tuple[Curve, ...]
    comparisons: tuple[Comparison, ...]
    without: tuple[tuple[float, Comparison], ...]
    tuned: tuple[Comparison, ...]
    gaps: tuple[tuple[int, str, float], ...]


def work_out_stress(
    runs: pd.DataFrame, stage: StagePlan, constant_loss: float, settings: StatisticsSettings
) -> Stress:
    """Return what the runs of the stress stage show; `runs` has `composite_loss` and `failed`."""
    points = points_of(runs, stage)
    rates = sorted(points["rate"].unique())

    def tests(kept: Sequence[float]) -> tuple[Comparison, ...]:
        areas = areas_of(points[points["rate"].isin(kept)])
        level = compare.claim_level(stage)
        return tuple(compare.compare_samples(areas, stage.primary, AREA, settings, level))

    left_out = rates if len(rates) > 3 else []
    control = stage.primary[0][1] if stage.primary else ""
    return Stress(
        points=points,
        areas=areas_of(points),
        curves=_curves(points, constant_loss),
        comparisons=tests(rates),
        without=tuple((r, item) for r in left_out for item in tests([q for q in rates if q != r])),
        tuned=tuple(
            compare.compare_losses(tuned_losses(points), stage.primary, settings, score=TUNED)
        ),
        gaps=_gaps(points[points["arm"] == control], rates),
    )


def points_of(runs: pd.DataFrame, stage: StagePlan) -> pd.DataFrame:
    """Return a row per arm, depth, rate and seed of the stress stage, with `loss` and `failed`."""
    grid = pd.DataFrame([point._asdict() for point in stage.grid])
    table = runs[["arm", "seed", "failed", COMPOSITE.column]].rename(
        columns={"arm": "name", COMPOSITE.column: "loss"}
    )
    return grid.merge(table, on="name").drop(columns="name")


def areas_of(points: pd.DataFrame) -> dict[str, list[float]]:
    """Return arm -> A by seed: the trapezoid of the loss over log10 of the rate, divided by its
    range, and averaged over depths."""
    wide = points.pivot(index=["arm", "depth", "seed"], columns="rate", values="loss")
    places = np.log10(wide.columns.to_numpy(np.float64))
    area = scipy.integrate.trapezoid(wide.to_numpy(np.float64), places) / np.ptp(places)
    by_seed = pd.Series(area, index=wide.index).groupby(["arm", "seed"]).mean()
    return {str(arm): by_seed[arm].tolist() for arm in points["arm"].unique()}


def _curves(points: pd.DataFrame, constant: float) -> tuple[Curve, ...]:
    curves = []
    for depth, at_depth in points.groupby("depth", sort=False):
        means = at_depth.groupby(["arm", "rate"], sort=False)["loss"].mean()
        for arm, mine in at_depth.groupby("arm", sort=False):
            area = float(np.mean(areas_of(mine)[str(arm)]))
            own = means[arm].sort_index()
            best = float(own.min())
            rates = own.index.tolist()
            failed = mine.groupby("rate")["failed"].agg(["sum", "size"])
            bears = max((rate for rate in rates if not failed["sum"][rate]), default=None)
            breaks = next((rate for rate in rates if bears is None or rate > bears), None)
            curves.append(
                Curve(
                    arm=str(arm),
                    depth=int(str(depth)),
                    area=area,
                    relative=_share(area, float(means.min()), constant),
                    rise=_share(area, best, constant),
                    best_rate=float(own.idxmin()),
                    best_loss=best,
                    bears=bears,
                    breaks=breaks,
                    failures=None if breaks is None else int(failed["sum"][breaks]),
                    runs=None if breaks is None else int(failed["size"][breaks]),
                )
            )
    return tuple(curves)


def _share(value: float, lowest: float, constant: float) -> float | None:
    return (value - lowest) / (constant - lowest) if constant > lowest else None


def tuned_losses(points: pd.DataFrame) -> pd.DataFrame:
    """Return each seed's mean loss over depths at the rate that is best on the other seeds.

    With one seed there is no other, and its own rate is taken.
    """
    rows = []
    for arm, mine in points.groupby("arm", sort=False):
        wide = mine.pivot_table(index="seed", columns="rate", values="loss")
        for seed in wide.index:
            others = wide.drop(index=seed) if len(wide) > 1 else wide
            best = others.mean().idxmin()
            rows.append({"arm": arm, "seed": seed, TUNED.column: wide.loc[seed, best]})
    return pd.DataFrame(rows)


def _gaps(control: pd.DataFrame, rates: Sequence[float]) -> tuple[tuple[int, str, float], ...]:
    """Return what the grid misses: both ends of where the control learns, and narrow steps."""
    found = []
    for depth, mine in control.groupby("depth", sort=False):
        failed = mine.groupby("rate")["failed"].sum()
        if failed[rates[0]]:
            found.append((int(str(depth)), "fails at the lowest", rates[0] / _STEP))
        if not failed[rates[-1]]:
            found.append((int(str(depth)), "bears the highest", rates[-1] * _STEP))
    for low, high in pairwise(rates):
        if high / low > _STEP * (1 + 1e-9):
            found.append((0, "wide", math.sqrt(low * high)))
    return tuple((depth, kind, float(f"{rate:.2g}")) for depth, kind, rate in found)
