"""How often the decision is right, and how often wrong, on studies with a planted answer.

Ten arms per study, planted failure rates and losses (tests/report/planted.py); nothing is trained.
`make bench-decision` prints the table of docs/study.md.
"""

import argparse
import importlib.util
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from ptycho_torch.config.read import load_yaml
from ptycho_torch.report.decide.decision import decide

ROOT = Path(__file__).resolve().parents[1]
OUTCOMES = ("gold", "silver", "pivot", "undecided")


def _planted() -> Any:
    path = ROOT / "tests" / "report" / "planted.py"
    spec = importlib.util.spec_from_file_location("planted", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["planted"] = module
    spec.loader.exec_module(module)
    return module


planted = _planted()
NULL = planted.NULL
# Name -> (truth, what is right, seeds per arm).
CASES: dict[str, tuple[Any, str, tuple[int, ...]]] = {
    "all arms equal, none fails": (NULL, "undecided", (5, 10, 20)),
    "all arms equal, 10 % fail": (replace(NULL, base_failure=0.1), "undecided", (5, 10, 20)),
    "stable has 30 % less loss and fails as often (10 %)": (
        planted.Truth(base_failure=0.1, loss={"stable": 0.7}),
        "undecided",
        (10, 20),
    ),
    "stable fails less, its loss is the control's": (
        planted.Truth(base_failure=0.5, failure={"stable": 0.01}),
        "undecided",
        (20, 40),
    ),
    "agc fails less, its loss is 10 % higher, the very bound": (
        planted.Truth(base_failure=0.5, failure={"agc": 0.01}, loss={"agc": 1.1}),
        "undecided",
        (20, 40),
    ),
    "Gold planted": (planted.GOLD, "gold", (5, 10, 20, 40)),
    "Silver planted": (planted.SILVER, "silver", (5, 10, 20, 40)),
    "Pivot planted": (planted.PIVOT, "pivot", (5, 10, 20)),
}


def counts(truth: Any, seeds: int, studies: int) -> Counter[str]:
    """Return how often each decision came out."""
    study = planted.ten_arm_study(load_yaml(ROOT / "config" / "config.yaml"), seeds, most_seeds=2)
    found: Counter[str] = Counter()
    for number in range(studies):
        rng = np.random.default_rng([2026, seeds, number])
        shallow, deep = (planted.planted_runs(study, truth, s, rng) for s in ("stage_a", "pivot"))
        found[decide(study, shallow, deep)["decision"]] += 1
    return found


def main() -> None:
    """Print a row per case and number of seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    options = parser.parse_args()
    print(
        "| planted | seeds | Gold | Silver | Pivot | Undecided | wrong decision (95 % interval) |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, (truth, right, sizes) in CASES.items():
        for seeds in sizes if options.only in name else ():
            found = counts(truth, seeds, options.studies)
            wrong = sum(found[o] for o in OUTCOMES if o not in (right, "undecided"))
            bounds = stats.binomtest(wrong, options.studies).proportion_ci(0.95, "exact")
            cells = " | ".join(str(found[outcome]) for outcome in OUTCOMES)
            print(
                f"| {name} | {seeds} | {cells} | {wrong} of {options.studies} "
                f"({100 * bounds.low:.1f} % to {100 * bounds.high:.1f} %) |",
                flush=True,
            )


if __name__ == "__main__":
    main()
