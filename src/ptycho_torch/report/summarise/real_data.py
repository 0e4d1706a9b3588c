"""Summary of real measurements: rPIE and networks, scored without a ground truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from ptycho_torch.config.arms import labels
from ptycho_torch.config.read import parse_study
from ptycho_torch.config.study import Study
from ptycho_torch.files import io
from ptycho_torch.report.rendering import render
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.markdown import number

RPIE = "rpie"
Metrics = Mapping[str, Any]

R_FACTORS = {
    "train": "training frames, by the object",
    "held_out_object": "frames held out, by the training frames' object",
    "other_half": "other half, by one half's object",
    "held_out_stitched": "frames held out, by an object from themselves",
    "held_out_patch": "frames held out, by each one's own patch",
}
"""Key of `r_factor` in metrics.json -> heading."""

RESOLUTIONS = {
    f"{kind}_{level}": f"{kind}, {name}"
    for kind in ("complex", "phase")
    for level, name in (("half_bit", "half bit"), ("half", "1/2"), ("seventh", "1/7"))
}
"""Kind of object and threshold -> heading."""

AGREEMENTS = {
    "correlation": "complex correlation",
    "contrast_correlation": "the same without the means",
    "amplitude_ssim": "amplitude SSIM",
    "phase_ssim": "phase SSIM",
}
"""Key of `agreement` in metrics.json -> heading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One reconstruction: rPIE's (seed None), or a network's."""

    label: str
    """`rpie`, or the network's name."""

    seed: int | None
    """Of the network's training."""

    metrics: dict[str, Any]
    """`metrics.json`."""

    report: dict[str, Any]
    """`report.json`."""

    curves: Mapping[str, NDArray[Any]]
    """`curves.npz`: what figures draw."""

    @property
    def name(self) -> str:
        """What it is called in tables and figures."""
        return "rPIE" if self.seed is None else f"{self.label}, seed {self.seed}"

    @property
    def completed(self) -> bool:
        """Whether there is an object to score."""
        return bool(self.metrics["outcome"] == "completed")

    @property
    def scores(self) -> dict[str, float | None]:
        """Column of scores.csv -> value; resolutions are full periods, px."""
        metrics = self.metrics
        found = {f"r_{key}": metrics["r_factor"][key] for key in R_FACTORS}
        for key in RESOLUTIONS:
            kind, level = key.split("_", 1)
            frequency = metrics["halves"][kind][level]
            found[f"resolution_{key}"] = 1 / frequency if frequency > 0 else None
        return found | {f"rpie_{key}": metrics["agreement"][key] for key in AGREEMENTS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What the jobs of a measurement left."""

    name: str
    """Its entry in `real_data.measurements`."""

    about: str
    """What it is, in the user's words."""

    split: dict[str, Any]
    """`split.json`: frames in use and held out."""

    source: dict[str, Any]
    """`source.json`: where the file came from."""

    rpie: Result
    """The conventional reconstruction."""

    networks: list[Result]
    """Every network at every seed."""

    histories: dict[tuple[str, int], pd.DataFrame]
    """(label, seed) -> losses by epoch."""

    @property
    def results(self) -> list[Result]:
        """All reconstructions, rPIE first."""
        return [self.rpie, *self.networks]

    @property
    def finished(self) -> list[Result]:
        """Networks with an object to score."""
        return [result for result in self.networks if result.completed]

    def by_label(self) -> dict[str, list[Result]]:
        """Return the results of rPIE and of each network."""
        found: dict[str, list[Result]] = {}
        for result in self.results:
            found.setdefault(result.label, []).append(result)
        return found

    def shown(self) -> list[Result]:
        """Return what figures show: rPIE, and of each network the completed seed of median R
        factor on the frames held out (of an even number the lower)."""
        found = [self.rpie]
        for mine in self.by_label().values():
            good = [r for r in mine if r.completed and r.seed is not None]
            good.sort(key=lambda r: (_own_patch(r), r.seed))
            found += good[(len(good) - 1) // 2 :][:1]
        return found

    def best(self) -> Result:
        """Return the network run with the least R factor by its own patches."""
        return min(self.finished, key=_own_patch)

    def better_than(self, bound: float | None) -> list[Result]:
        """Return the network runs whose objects predict held-out frames better than a bound."""
        scored = [(r.metrics["r_factor"]["held_out_object"], r) for r in self.finished]
        return [
            r for value, r in scored if bound is not None and value is not None and value < bound
        ]


def summarise_real_data(
    study: Mapping[str, Any], *, provenance: Mapping[str, Any], folder: io.PathLike
) -> None:
    """Write summary.md and scores.csv, and the figures of each measurement into its folder.

    Parameters
    ----------
    study
        The configuration in force, as nested mappings.
    provenance
        What `provenance.collect_provenance` returns.
    folder
        `results/real_data`, which has a folder for each measurement (docs/reference/files.md).

    Raises
    ------
    InputError
        If the configuration has no real measurements, or a file is missing or damaged.
    """
    from ptycho_torch.report.figures.real_data import draw_all  # matplotlib: slow to import

    parsed, folder = parse_study(study, "study"), Path(folder)
    if parsed.real_data is None:
        raise InputError("study: has no block real_data, so there is nothing to summarise")
    found = [read_measurement(parsed, name, folder) for name in parsed.real_data.measurements]
    text = render(
        "real_data.md.j2",
        study=parsed,
        real=parsed.real_data,
        measurements=found,
        columns=(R_FACTORS, RESOLUTIONS, AGREEMENTS),
        cell=cell,
        made=provenance,
    )
    for one in found:
        draw_all(one, folder / one.name)
    io.write_csv(folder / "scores.csv", _table(found))
    io.write_text(folder / "summary.md", text)


def read_measurement(study: Study, name: str, folder: Path) -> Measurement:
    """Read a measurement's results from its folder in `folder`.

    Raises
    ------
    InputError
        If a file is missing or damaged; names it.
    """
    assert study.real_data is not None
    folder = folder / name
    runs = [(label, seed) for label in labels(study) for seed in study.real_data.seed_list]
    return Measurement(
        name=name,
        about=study.real_data.measurements[name].about or "",
        split=io.read_json(folder / "split.json"),
        source=io.read_json(folder / "source.json"),
        rpie=_read_result(folder / RPIE, RPIE, None),
        networks=[_read_result(folder / label / f"seed-{n}", label, n) for label, n in runs],
        histories={
            (label, n): io.read_csv(folder / "train" / label / f"seed-{n}" / "history.csv")
            for label, n in runs
        },
    )


def _read_result(folder: Path, label: str, seed: int | None) -> Result:
    return Result(
        label=label,
        seed=seed,
        metrics=io.read_json(folder / "metrics.json"),
        report=io.read_json(folder / "report.json"),
        curves=io.read_npz(folder / "curves.npz"),
    )


def _table(measurements: Sequence[Measurement]) -> pd.DataFrame:
    """Return a row for every reconstruction, failed ones with their reason."""
    rows = [
        {
            "measurement": one.name,
            "arm": result.label,
            "seed": result.seed,
            "outcome": result.metrics["outcome"],
            "reason": (result.metrics["failure"] or {}).get("reason"),
            "best_val_loss": result.report.get("best_val_loss"),
            "seconds": result.report["seconds"],
            **(result.scores if result.completed else {}),
        }
        for one in measurements
        for result in one.results
    ]
    return pd.DataFrame(rows).astype({"seed": "Int64"})


def cell(results: Sequence[Result], column: str) -> str:
    """Return median [least, largest] over the seeds that ended well, and how many did not."""
    good = [result for result in results if result.completed]
    if not good:
        return "none: all failed"
    failed = len(results) - len(good)
    tail = f"; {failed} of {len(results)} failed" if failed else ""
    values = [value for result in good if (value := result.scores[column]) is not None]
    if len(values) < 2:
        return number(values[0]) + tail if values else "-"
    return f"{number(median(values))} [{number(min(values))}, {number(max(values))}]{tail}"


def _own_patch(result: Result) -> float:
    return float(result.metrics["r_factor"]["held_out_patch"])
