"""What the jobs of a measurement left, in one place for its table and its figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from ptycho_torch.config.arms import labels
from ptycho_torch.config.study import Study
from ptycho_torch.files import io

RPIE = "rpie"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One reconstruction: rPIE's (seed None), or a network's."""

    label: str
    seed: int | None
    metrics: dict[str, Any]
    report: dict[str, Any]
    curves: Mapping[str, NDArray[Any]]

    @property
    def name(self) -> str:
        """What it is called in tables and figures."""
        return "rPIE" if self.seed is None else f"{self.label}, seed {self.seed}"

    @property
    def completed(self) -> bool:
        """Whether there is an object to score."""
        return bool(self.metrics["outcome"] == "completed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """A measurement's results: split and source as their files say them, rPIE, networks, losses
    by epoch (label, seed -> history.csv)."""

    name: str
    split: dict[str, Any]
    source: dict[str, Any]
    rpie: Result
    networks: list[Result]
    histories: dict[tuple[str, int], pd.DataFrame]

    @property
    def results(self) -> list[Result]:
        """All reconstructions, rPIE first."""
        return [self.rpie, *self.networks]

    def shown(self) -> list[Result]:
        """Return what figures show: rPIE, and of each network the completed seed of median R
        factor on the frames held out (of an even number the lower)."""
        found = [self.rpie]
        for label in dict.fromkeys(result.label for result in self.networks):
            mine = [r for r in self.networks if r.label == label and r.completed]
            mine.sort(key=lambda r: (r.metrics["r_factor"]["held_out_patch"], r.seed))
            if mine:
                found.append(mine[(len(mine) - 1) // 2])
        return found


def collect(study: Study, name: str, folder: Path) -> Collected:
    """Read a measurement's results from its folder.

    Raises
    ------
    InputError
        If a file is missing or damaged; names it.
    """
    real = study.real_data
    assert real is not None
    runs = [(label, seed) for label in labels(study) for seed in real.seed_list]
    return Collected(
        name=name,
        split=io.read_json(folder / "split.json"),
        source=io.read_json(folder / "source.json"),
        rpie=_result(folder / RPIE, RPIE, None),
        networks=[_result(folder / label / f"seed-{n}", label, n) for label, n in runs],
        histories={
            (label, n): _history(folder / "train" / label / f"seed-{n}") for label, n in runs
        },
    )


def _history(folder: Path) -> pd.DataFrame:
    return io.read_csv(folder / "history.csv")


def _result(folder: Path, label: str, seed: int | None) -> Result:
    return Result(
        label=label,
        seed=seed,
        metrics=io.read_json(folder / "metrics.json"),
        report=io.read_json(folder / "report.json"),
        curves=io.read_npz(folder / "curves.npz"),
    )
