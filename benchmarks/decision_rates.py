"""How often a whole study claims something false, and how often it finds what is there.

Planted losses and failures (tests/report/planted.py); nothing is trained. A study is Stage A with
four arms, the stress stage with three at five rates and two depths, the pivot, and the decision.
`make bench-decision` prints the tables of docs/decision-rates.md.
"""

import argparse
import importlib.util
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ptycho_torch.config.plan import stage_plan
from ptycho_torch.config.read import load_yaml
from ptycho_torch.report.decide import decide
from ptycho_torch.statistics.compare import claim_level, compare_losses, compare_samples
from ptycho_torch.statistics.scores import AREA
from ptycho_torch.statistics.stress import areas_of, points_of

ROOT = Path(__file__).resolve().parents[1]
STRESS = {
    "arms": ["control", "stable", "agc"],
    "learning_rates": [2e-3, 6e-3, 1.2e-2, 3e-2, 6e-2],
    "depths": [4, 8],
    "epochs": 4,
}


def _planted() -> Any:
    path = ROOT / "tests" / "report" / "planted.py"
    spec = importlib.util.spec_from_file_location("planted", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["planted"] = module
    spec.loader.exec_module(module)
    return module


planted = _planted()
NULL, Truth = planted.NULL, planted.Truth
# Nothing differs: every claim and every decision is false.
NOTHING = {
    **{f"{rate:.0%} of all runs fail": replace(NULL, base_failure=rate)
       for rate in (0.0, 0.1, 0.3, 0.5, 0.7)},
    "heavy tails (t, 2 degrees of freedom)": replace(NULL, kind="heavy"),
    "twins: three in ten runs have twice the loss": replace(NULL, kind="twin"),
    "twins, and 30 % fail": replace(NULL, kind="twin", base_failure=0.3),
    # Worse in truth, for its failures: only "better" is false.
    "the worst quarter of `stable`'s runs is labelled failed": replace(NULL, lost="stable"),
}  # fmt: skip
SOMETHING = {
    "`stable` has 10 % less loss": Truth(loss={"stable": 0.9}),
    "`stable` has 20 % less loss": Truth(loss={"stable": 0.8}),
    "`stable` fails in 1 %, the others in half": Truth(base_failure=0.5, failure={"stable": 0.01}),
    "Gold": planted.GOLD,
    "Silver": planted.SILVER,
    "Pivot": planted.PIVOT,
}


def study_of(seeds: Any, stressed: Any = None) -> Any:
    """Return the study, with as many seeds everywhere, or with planned looks; stressed: another
    number in the stress stage."""
    data = load_yaml(ROOT / "config" / "config.yaml")
    stress = {**STRESS, "seeds": stressed or seeds}
    return planted.planted_study(data, seeds, others=0, resamples=9999, stress=stress)


def claims(study: Any, truth: Any, rng: np.random.Generator) -> Counter[str]:
    """Return what one study claims: by stage and direction, and the decision."""
    runs = {name: planted.planted_runs(study, truth, name, rng) for name in ("stage_a", "stress")}
    plans = {name: stage_plan(study, name) for name in runs}
    found: Counter[str] = Counter()
    for name, plan in plans.items():
        claimed: dict[str, str] = {}
        for look in plan.looks or (len(plan.seed_list),):
            table = runs[name][runs[name]["seed"] < look]
            for item in compared(study, plan, table):
                if item.state != "undecided":
                    claimed.setdefault(item.arm, "better" if item.state == "lower" else "worse")
        found.update(f"{name} {arm} {which}" for arm, which in claimed.items())
    deep = planted.planted_runs(study, truth, "pivot", rng)
    found[decide(study, runs["stage_a"], deep)["decision"]] += 1
    return found


def compared(study: Any, plan: Any, runs: pd.DataFrame) -> list[Any]:
    """Return the primary comparisons of a stage."""
    if plan.grid:
        areas, level = areas_of(points_of(runs, plan)), claim_level(plan)
        return compare_samples(areas, plan.primary, AREA, study.statistics, level)
    return compare_losses(runs, plan.primary, study.statistics, claim_level(plan))


def share(hits: int, studies: int) -> str:
    """Return a share of studies with its exact interval."""
    low, high = stats.binomtest(hits, studies).proportion_ci(0.95, "exact")
    return f"{100 * hits / studies:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def all_of(truth: Any, plan: tuple[Any, ...], studies: int) -> list[Counter[str]]:
    """Return what each of so many studies claims."""
    study, seeds = study_of(*plan), plan[0]
    key = seeds["looks"][-1] if isinstance(seeds, dict) else seeds
    return [claims(study, truth, np.random.default_rng([2026, key, n])) for n in range(studies)]


def main() -> None:
    """Print both tables, a row per planted truth and number of seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--power-studies", type=int, default=100)
    options = parser.parse_args()
    plans = {
        "6": (6,),
        "looks at 6, 9, 14": ({"looks": [6, 9, 14]},),
        # As the small study advises: the second look where the first decides nothing.
        "looks at 6, 14; stress 5": ({"looks": [6, 14]}, 5),
    }
    print("| nothing differs | seeds | a false claim anywhere | Stage A | stress | decision |")
    print("|---|---|---|---|---|---|")
    for name, truth in NOTHING.items():
        for label, plan in plans.items():
            found = all_of(truth, plan, options.studies)
            if truth.lost:
                for one in found:
                    for key in (f"{stage} {truth.lost} worse" for stage in ("stage_a", "stress")):
                        one.pop(key, None)
            counts = [
                sum(any(key.startswith(stage) for key in one) for one in found)
                for stage in ("stage_a", "stress")
            ]
            decided = sum(not one["undecided"] for one in found)
            anywhere = sum(set(one) != {"undecided"} for one in found)
            cells = [share(anywhere, options.studies), *map(str, (*counts, decided))]
            print(f"| {name} | {label} | {' | '.join(cells)} |", flush=True)
    print()
    print("| planted | seeds | `stable` better, Stage A | stress | Gold | Silver | Pivot |")
    print("|---|---|---|---|---|---|---|")
    for name, truth in SOMETHING.items():
        for label, plan in plans.items():
            found = all_of(truth, plan, options.power_studies)
            keys = ("stage_a stable better", "stress stable better", "gold", "silver", "pivot")
            cells = " | ".join(str(sum(bool(one[key]) for one in found)) for key in keys)
            print(f"| {name} | {label} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
