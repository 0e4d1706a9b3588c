"""A whole study that was never run: the files that the page is made from, with planted answers."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ptycho_torch.files import io
from ptycho_torch.report.publish.page import publish_page

ARMS = ("control", "stable", "agc")
SEEDS = (0, 1, 2)
EPOCHS = 6
# As text 0.09 stands behind 0.1, 12.5 before 9.1 and 2e-05 before 9.1: only numbers sort right.
LOSSES = {
    "control": (12.5, None, 9.1),
    "stable": (0.1, 0.09, 2e-5),
    "agc": (0.31, 0.3, 0.29),
}
OUTCOMES = {
    ("control", 0): ("exploded", "20 steps in a row beyond 10 times the first"),
    ("control", 1): ("non_finite", "the loss is NaN at step 7"),
    ("control", 2): ("collapsed", "the amplitude is flat"),
}
SCORES = ("amplitude_ssim", "phase_ssim", "complex_error")


def one_run(arm: str, seed: int, loss: float | None, dataset: str = "lines") -> dict[str, Any]:
    outcome, reason = OUTCOMES.get((arm, seed), ("completed", "none of the failures was found"))
    ssim = None if loss is None else 0.9 - loss / 20
    return {
        "stages": "stage_a;clip_sweep" if arm == "agc" else "stage_a",
        "dataset": dataset,
        "arm": arm,
        "seed": seed,
        "outcome": outcome,
        "failed": outcome != "completed",
        "reason": reason,
        "epochs": 0 if loss is None else 3 if outcome == "exploded" else EPOCHS,
        "val_loss_name": "mae_val_loss",
        "best_val_loss": loss,
        "best_amplitude_ssim": ssim,
        "best_phase_ssim": ssim,
        "best_complex_error": None if ssim is None else 1 - ssim,
        "grad_norm_p99": None if loss is None else 4.0,
        "clipped_share": 0.25,
        "wall_s": 3725.0 + seed,
        "undefined": "" if loss is not None else "amplitude_ssim: no epoch ended",
    }


def arrays_of(run: dict[str, Any]) -> dict[str, np.ndarray]:
    rows, columns = np.mgrid[0:24, 0:20]
    truth = (1 + 0.5 * np.sin(rows / 4) * np.cos(columns / 5))[None]
    drawn = truth + 0.1 * np.random.default_rng(run["seed"]).normal(size=truth.shape)
    if run["best_val_loss"] is None:
        drawn = np.full_like(truth, np.nan)
    arrays = {
        "amplitude": drawn,
        "phase": drawn - 1,
        "truth_amplitude": truth,
        "truth_phase": truth - 1,
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def words(runs: list[dict[str, Any]]) -> dict[str, Any]:
    datasets = sorted({run["dataset"] for run in runs})
    return {
        "title": "Which network survives?",
        "protocol": "small",
        "stages": {
            name: {
                "title": title,
                "question": f"What does {name} ask?",
                "answer": [f"`{name}` is undecided.", "Nothing failed."],
                "summary": f"{name}/summary.md",
            }
            for name, title in (("stage_a", "The shootout"), ("clip_sweep", "The sweep"))
        },
        "baselines": {
            name: {"constant": dict.fromkeys(SCORES, 0.277), "truth": dict.fromkeys(SCORES, 1.0)}
            for name in datasets
        },
        "noise_floor": dict.fromkeys(datasets, 0.0048),
        "constant_loss": dict.fromkeys(datasets, 0.289),
        "undefined": {},
        "provenance": {
            "command": "snakemake study_page --cores 4",
            "commit": "0123abc",
            "python": "3.11",
            "platform": "Linux",
            "versions": {"numpy": "2"},
        },
    }


def decided() -> dict[str, Any]:
    return {
        "decision": "undecided",
        "headline": "Nothing can be preferred yet.",
        "because": ["three seeds support no ranking"],
        "would_change": ["six seeds that all survive"],
        "rules": [
            {
                "rule": "gold",
                "state": "undecided",
                "conditions": [
                    {
                        "condition": "survives",
                        "state": "met",
                        "sentence": "0 of 3 failed.",
                        "seeds": "",
                    },
                    {
                        "condition": "scores better",
                        "state": "not met",
                        "sentence": "It does not.",
                        "seeds": "6",
                    },
                ],
            }
        ],
    }


class Planted:
    """A study as plain data: change it, then write it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = [
            one_run(arm, seed, LOSSES[arm][place])
            for arm in ARMS
            for place, seed in enumerate(SEEDS)
        ]
        self.study = words(self.runs)
        self.decision = decided()

    def history(self) -> pd.DataFrame:
        columns = ["dataset", "arm", "seed", "epoch", "mae_val_loss", "poisson_val_loss"]
        rows = [
            (run["dataset"], run["arm"], run["seed"], epoch, value, -value)
            for run in self.runs
            for epoch in range(1, run["epochs"] + 1)
            for value in [run["best_val_loss"] * (1 + 2 * np.exp(-epoch))]
        ]
        return pd.DataFrame(rows, columns=columns)

    def write(self) -> dict[str, Any]:
        """Write the files; return the keywords of `publish_page`."""
        folder = self.folder
        pd.DataFrame(self.runs).to_csv(folder / "runs.csv", index=False)
        self.history().to_csv(folder / "history.csv", index=False)
        io.write_json(folder / "decision.json", self.decision)
        io.write_json(folder / "study.json", self.study)
        reconstructions = []
        for run in self.runs:
            place = folder / "evaluate" / run["dataset"] / run["arm"] / f"seed-{run['seed']}"
            place.mkdir(parents=True, exist_ok=True)
            np.savez(place / "reconstruction.npz", **arrays_of(run))
            reconstructions.append(place / "reconstruction.npz")
        return {
            "runs": folder / "runs.csv",
            "history": folder / "history.csv",
            "decision": folder / "decision.json",
            "study": folder / "study.json",
            "reconstructions": reconstructions,
            "page": folder / "index.html",
        }

    def publish(self) -> Path:
        """Write files and page; return the page."""
        files = self.write()
        publish_page(**files)
        return files["page"]


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    return Planted(tmp_path)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the planted study as it is."""
    return Planted(tmp_path_factory.mktemp("published")).publish()


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page whose every text tries to be markup."""
    study = Planted(tmp_path_factory.mktemp("hostile"))
    make_hostile(study)
    return study.publish()


BREAK_OUT = '</script><script>window.owned = 1</script><img src=x onerror="window.owned=1">'


def make_hostile(study: Planted) -> None:
    study.study["title"] = f"</title>{BREAK_OUT}"
    study.study["stages"]["stage_a"] |= {"title": BREAK_OUT, "answer": [f"`{BREAK_OUT}`"]}
    study.study["provenance"]["command"] = BREAK_OUT
    study.decision["headline"] = BREAK_OUT
    study.decision["because"] = [BREAK_OUT]
    study.decision["rules"][0]["rule"] = BREAK_OUT
    for run in study.runs:
        if run["arm"] == "control":
            # Folders are named after arms, so this one has to do without a slash. A comment with
            # a script in it keeps a script's own end tag from ending it.
            run["arm"] = (
                '"><!--<script>window.owned=1;{{ 7 * 7 }}<b>bold<img src=x onerror="window.owned=1">'
            )
            run["reason"] = BREAK_OUT


@pytest.fixture
def make_run():
    return one_run
