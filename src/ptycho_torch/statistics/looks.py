"""Planned looks: the level of each, such that all of them together keep the stage's."""

from functools import lru_cache

import numpy as np
import scipy

from ptycho_torch.config.plan import StagePlan


def claim_level(stage: StagePlan) -> float | None:
    """Return the level of each look of a stage, of its only one the stage's; None: no claims."""
    if stage.level is None or len(stage.looks) < 2:
        return stage.level
    family = max(len(stage.primary), 1)
    # At Holm's hardest step a comparison has this part of the level, at every look.
    return family * look_level(stage.level / family, stage.looks)


@lru_cache(maxsize=32)
def look_level(level: float, looks: tuple[int, ...]) -> float:
    """Return the level of each look, the same for all, at so many seeds.

    The test statistics of the looks are as good as jointly normal, with correlation sqrt(n / m)
    between looks at n and m seeds.
    Pocock (1977), Biometrika 64, 191, doi:10.1093/biomet/64.2.191: 0.0182 for four at 5 %.
    """
    n = np.asarray(looks, np.float64)
    correlation = np.sqrt(np.minimum.outer(n, n) / np.maximum.outer(n, n))
    joint = scipy.stats.multivariate_normal(
        cov=correlation, abseps=1e-6, releps=1e-6, maxpts=200_000, seed=0
    )

    def excess(one: float) -> float:
        edge = np.full(n.size, scipy.stats.norm.isf(one / 2))
        return 1 - float(joint.cdf(edge, lower_limit=-edge)) - level

    return float(scipy.optimize.brentq(excess, level / n.size, level, xtol=1e-6))
