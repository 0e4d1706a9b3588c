"""Studies that were never run: ten arms with planted failure rates and losses."""

import copy
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ptycho_torch.config.plan import stage_plan
from ptycho_torch.config.read import parse_study
from ptycho_torch.config.study import derive

OTHERS = [f"other{i}" for i in range(6)]
ARMS = ["control", "stable", "agc", "norm1", *OTHERS]


@dataclass
class Truth:
    """What is planted; arms that are not named are like the control."""

    failure: dict[str, float] = field(default_factory=dict)
    """Failure rate by arm, shallow and deep: `stable` and `stable@8`."""

    loss: dict[str, float] = field(default_factory=dict)
    """Loss by arm, as a multiple of the control's."""

    base_failure: float = 0.0
    spread: float = 0.039
    """Standard deviation of a run's log loss about its arm's, within a seed."""
    common: float = 0.016
    """Standard deviation that the runs of a seed share: a pair correlation of 0.15 at 0.042."""
    kind: str = "normal"
    """Of those deviations: normal, heavy (Student's t, 2 degrees of freedom), or twin (three in ten
    runs have twice the loss)."""

    lost: str = ""
    """An arm whose worst quarter of runs is labelled failed: the same losses, some of them hidden."""

    def noise(self, rng: np.random.Generator) -> float:
        """Return the deviation of one run's log loss."""
        if self.kind == "heavy":
            return self.spread * float(rng.standard_t(2))
        twin = np.log(2) * (rng.random() < 0.3) if self.kind == "twin" else 0.0
        return self.spread * float(rng.normal()) + twin


def planted_study(data: dict, seeds: int, others: int = 6, resamples: int = 999, **blocks):
    """Return the study of `config.yaml` with more arms in Stage A, as many seeds everywhere."""
    data = copy.deepcopy(data)
    for number, name in enumerate(OTHERS[:others]):
        data["arms"][name] = {
            "hypothesis": "one of many",
            "execution": {"clip": {"gradient_clip_algorithm": "norm", "max_norm": 200.0 + number}},
        }
    data["stage_a"].update(arms=[*ARMS[:4], *OTHERS[:others]], seeds=seeds)
    data["statistics"] = {"resamples": resamples}
    return parse_study({**data, **blocks}, "planted")


def planted_runs(study, truth: Truth, stage: str, rng: np.random.Generator) -> pd.DataFrame:
    """Return a table of runs as a stage's `runs.csv` has it."""
    plan = stage_plan(study, stage)
    seeds = {seed: rng.normal(0, truth.common) for seed in plan.seed_list}
    rows = []
    for arm in plan.arms:
        variant = derive(study).variants.get(arm)
        deep = variant is not None and ("generator.fno_blocks", 8) in variant.changes
        name = f"{variant.base}@8" if deep else arm
        base = variant.base if variant else arm
        rate = truth.failure.get(name, truth.failure.get(base, truth.base_failure))
        factor = truth.loss.get(name, truth.loss.get(base, 1.0))
        for seed in plan.seed_list:
            loss = 0.1 * factor * np.exp(seeds[seed] + truth.noise(rng))
            failed = bool(rng.random() < rate)
            if base == truth.lost:
                # The upper quarter of a normal deviation.
                failed |= bool(np.log(loss / (0.1 * factor)) - seeds[seed] > 0.674 * truth.spread)
            rows.append({
                "dataset": plan.dataset, "arm": arm, "seed": seed,
                "outcome": "exploded" if failed else "completed", "failed": failed,
                "val_loss_name": "mae_val_loss", "best_val_loss": loss, "best_mae_val_loss": loss,
                "last_val_loss": loss, "composite_loss": 0.29 if failed else min(loss, 0.29),
                "grad_norm_p99": 4.0, "best_amplitude_ssim": 1 - 2 * loss,
                "best_phase_ssim": 1 - 3 * loss,
                "best_complex_error": loss,
            })  # fmt: skip
    return pd.DataFrame(rows)


GOLD = Truth(
    base_failure=0.5, failure={"stable": 0.01, "agc": 0.4}, loss={"stable": 0.7, "agc": 0.97}
)
SILVER = Truth(base_failure=0.5, failure={"agc": 0.01}, loss={"agc": 0.97})
PIVOT = Truth(
    base_failure=0.3,
    failure={"stable@8": 0.9, "agc@8": 0.9, "control@8": 0.9, "layerscale@8": 0.02},
)
NULL = Truth()
