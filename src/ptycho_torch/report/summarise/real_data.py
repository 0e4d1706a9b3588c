"""Summary of real measurements: rPIE and networks, scored without a ground truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptycho_torch.config.stages import RealDataSettings
from ptycho_torch.files import io
from ptycho_torch.files.belonging import must_belong
from ptycho_torch.report.rendering import render
from ptycho_torch.runtime import plot_style as style
from ptycho_torch.runtime.markdown import number
from ptycho_torch.runtime.plot_style import Look

RPIE = "rpie"
_MOST_COLUMNS = 5


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

    @property
    def scores(self) -> dict[str, float | None]:
        """Column of scores.csv -> value; resolutions are full periods, px."""
        halves, agreement = self.metrics["halves"], self.metrics["agreement"]
        periods = {f"resolution_{key}": 1 / halves[key] for key in ("half_bit", "half", "seventh")}
        return {
            **{f"r_{key}": value for key, value in self.metrics["r_factor"].items()},
            **periods,
            **{f"rpie_{key}": value for key, value in agreement.items() if key != "constant"},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What the jobs of a measurement left."""

    name: str
    """Its entry in `real_data.measurements`."""
    split: dict[str, Any]
    source: dict[str, Any]
    """Its files `split.json` and `source.json`."""
    rpie: Result
    networks: list[Result]

    @property
    def finished(self) -> list[Result]:
        """Networks with an object to score, the least R factor by their own patches first."""
        good = [result for result in self.networks if result.completed]
        return sorted(good, key=lambda r: (r.metrics["r_factor"]["held_out_patch"], r.seed))

    def by_label(self) -> dict[str, list[Result]]:
        """Return the results of rPIE and of each network."""
        found: dict[str, list[Result]] = {}
        for result in (self.rpie, *self.networks):
            found.setdefault(result.label, []).append(result)
        return found

    def shown(self) -> list[Result]:
        """Return what figures show: rPIE, and of each network the completed seed of median R
        factor on the frames held out (of an even number the lower)."""
        found = [self.rpie]
        for label in self.by_label():
            good = [result for result in self.finished if result.label == label]
            found += good[(len(good) - 1) // 2 :][:1]
        return found


def summarise_real_data(
    title: str,
    settings: Mapping[str, Any],
    *,
    arms: Sequence[str],
    fits: Mapping[str, Any],
    provenance: Mapping[str, Any],
    folder: io.PathLike,
) -> None:
    """Write summary.md and scores.csv, and the figures of each measurement into its folder.

    `settings` is the study's block `real_data`, `arms` the names of its arms, whose order fixes
    their colours, `fits` the settings of each training by "measurement/label/seed"; `folder` is
    `results/real_data`. Raises InputError if a file is damaged, or another study's.
    """
    real, folder = RealDataSettings.model_validate(settings), Path(folder)
    _must_belong(real, fits, folder)
    found = [_read(real, name, folder / name) for name in real.measurements]
    values = {"title": title, "real": real, "measurements": found, "made": provenance}
    text = render("real_data.md.j2", cell=_cell, **values)
    of_label = {label: arm for label, (arm, _) in real.networks.items()}
    looks = style.arm_looks(real.networks, arms, of_label)
    with style.styled():
        for one in found:
            style.save(reconstructions(one), folder / one.name, "reconstructions")
            style.save(ring_correlation(one, looks), folder / one.name, "ring_correlation")
            style.save(held_out_frames(one), folder / one.name, "held_out_frames")
    io.write_csv(folder / "scores.csv", _table(found))
    io.write_text(folder / "summary.md", text)


def _must_belong(real: RealDataSettings, fits: Mapping[str, Any], folder: Path) -> None:
    """Raise `InputError` if results were made with other settings."""
    expected = real.rpie.model_dump(mode="json")
    reports = [folder / name / RPIE / "report.json" for name in real.measurements]
    made = [(path, io.read_json(path)["settings"], expected) for path in reports]
    must_belong(made, "real_data_rpie")
    trained = []
    for key, fit in fits.items():
        path = folder / "{}/train/{}/seed-{}/run.json".format(*key.split("/"))
        trained.append((path, io.read_json(path)["settings"], fit))
    must_belong(trained, "real_data_train")


def _read(real: RealDataSettings, name: str, folder: Path) -> Measurement:
    """Read a measurement's results from its folder."""

    def result(place: Path, label: str, seed: int | None) -> Result:
        metrics, report = (io.read_json(place / f"{kind}.json") for kind in ("metrics", "report"))
        curves = io.read_npz(place / "curves.npz")
        return Result(label=label, seed=seed, metrics=metrics, report=report, curves=curves)

    return Measurement(
        name=name,
        split=io.read_json(folder / "split.json"),
        source=io.read_json(folder / "source.json"),
        rpie=result(folder / RPIE, RPIE, None),
        networks=[
            result(folder / label / f"seed-{seed}", label, seed)
            for label in real.networks
            for seed in real.seeds
        ],
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
        for result in (one.rpie, *one.networks)
    ]
    return pd.DataFrame(rows).astype({"seed": "Int64"})


def _cell(results: Sequence[Result], column: str) -> str:
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


def reconstructions(found: Measurement) -> Figure:
    """Return amplitude and phase of rPIE and of each network, on rPIE's scales."""
    shown = found.shown()[:_MOST_COLUMNS]
    figure = style.new_figure(2.5 * len(shown) + 0.8, 5.4)
    grid = figure.subplots(2, len(shown), squeeze=False)
    reference = found.rpie.curves["reference"]
    turn = np.exp(-1j * np.angle(np.exp(1j * np.angle(reference)).mean()))
    for row, label in zip(grid, ("amplitude", "phase, rad"), strict=True):
        part = np.abs if label == "amplitude" else lambda image: np.angle(image * turn)
        low, high = np.percentile(part(reference), [0.5, 99.5])
        images = {style.on_lines(result.name): part(result.curves["image"]) for result in shown}
        style.draw_images(figure, row, images, label, cmap="gray", vmin=low, vmax=high)
    return figure


def ring_correlation(found: Measurement, looks: Mapping[str, Look]) -> Figure:
    """Return the Fourier ring correlation of the two halves, with three thresholds."""
    looks = {**looks, found.rpie.label: {"color": style.RPIE}}
    figure = style.new_figure(6.4, 3.6)
    axes = figure.subplots()
    frequency = found.rpie.curves["frc_cycles_per_px"]
    for result in found.shown():
        look = {"markersize": 3.5, **looks[result.label]}
        axes.plot(frequency, result.curves["frc_correlation"], label=result.name, lw=1.3, **look)
    half_bit = found.rpie.curves["frc_half_bit"]
    axes.plot(frequency, half_bit, color=style.REFERENCE, lw=1, label="half bit")
    axes.axhline(1 / 2, color=style.REFERENCE, lw=1, ls="--", label="1/2")
    axes.axhline(1 / 7, color=style.REFERENCE, lw=1, ls=":", label="1/7")
    axes.set(xlabel="spatial frequency, cycles per pixel", ylabel="correlation of two half scans")
    axes.set(xlim=(0, 0.5), ylim=(-0.2, 1.05))
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def held_out_frames(found: Measurement) -> Figure:
    """Return held-out frames as observed and as predicted, log scale over 2.5 decades."""
    observed = found.rpie.curves["observed"]
    columns = {"observed": observed}
    for result in found.shown()[:_MOST_COLUMNS]:
        columns[f"{result.name}:\nobject"] = result.curves["predicted"]
        if "predicted_patch" in result.curves:
            columns[f"{result.name}:\nown patch"] = result.curves["predicted_patch"]
    figure = style.new_figure(1.75 * len(columns) + 0.9, 1.95 * len(observed) + 0.5)
    high = float(observed.max())
    low = max(high / 300, 1e-6)
    for place, row in enumerate(figure.subplots(len(observed), len(columns), squeeze=False)):
        # What is darker than the scale is its darkest, not a hole.
        images = {title: np.maximum(frames[place], low) for title, frames in columns.items()}
        style.draw_images(figure, row, images, "amplitude", cmap="magma", norm=LogNorm(low, high))
    return figure
