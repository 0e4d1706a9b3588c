"""Our rPIE beside pty-chi's, on the same data: `make bench-rpie` (needs `make setup-baseline`).

N = 64, 225 patterns at a step of 10 px, triangle probe, known; one thread. Programs take turns,
round after round, so that other work on the machine hits all of them; times are per pass. Quality
is the complex error after `--passes`, less one factor, where a tenth of the most light fell.
"""

import argparse
import json
import platform
import statistics
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ptycho_torch.config.base import InputError
from ptycho_torch.config.dataset import ObjectSettings, TriangleProbe
from ptycho_torch.config.reconstruct import RpieSettings
from ptycho_torch.engines.canvas import predict
from ptycho_torch.engines.ptychi_adapter import reconstruct_ptychi
from ptycho_torch.engines.rpie import Reconstruction, reconstruct_rpie
from ptycho_torch.simulate.objects import draw_objects
from ptycho_torch.simulate.probes import make_probe

SIDE, STEP, PLACES = 64, 10, 15
PROGRAMS: dict[str, tuple[str, int]] = {
    "ours, 1 a batch": ("rpie", 1),
    "pty-chi rPIE, 1 a batch": ("ptychi-rpie", 1),
    "ours, 15 a batch": ("rpie", 15),
    "pty-chi LSQML, 15 a batch": ("ptychi-lsqml", 15),
}
"""Name -> engine, frames a batch; pairs stand together."""


def make_data() -> tuple[Any, Any, Any, Any]:
    """Return amplitudes, positions, probe and object, free of noise."""
    size = SIDE + STEP * (PLACES - 1) + 2
    thing = draw_objects(ObjectSettings(size_px=size, set_phi=True), images=1, seed=1)[0]
    thing = thing / np.abs(thing).max()
    probe = make_probe(TriangleProbe(shape="triangle"), SIDE)[None].astype(np.complex64)
    places = 1.0 + STEP * np.arange(PLACES)
    positions = np.stack(np.meshgrid(places, places, indexing="ij"), -1).reshape(-1, 2)
    return predict(thing, (0, 0), probe, positions), positions, probe, thing


def run(engine: str, batch: int, passes: int, data: tuple[Any, Any, Any, Any]) -> Reconstruction:
    """Reconstruct by one program."""
    settings = RpieSettings(passes=passes, batch_size=batch)
    if engine == "rpie":
        return reconstruct_rpie(*data[:3], settings)
    return reconstruct_ptychi(*data[:3], settings, engine=engine)  # type: ignore[arg-type]


def complex_error(made: Reconstruction, thing: Any) -> float:
    """Return the relative error less one complex factor."""
    rows, columns = np.nonzero(made.light_YX > 0.1 * made.light_YX.max())
    found = made.object_YX[rows, columns]
    true = thing[rows + made.origin[0], columns + made.origin[1]]
    factor = np.vdot(found, true) / np.vdot(found, found)
    return float(np.linalg.norm(factor * found - true) / np.linalg.norm(true))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def main() -> None:
    """Time, compare, print and write."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--passes", type=int, default=5)
    options.add_argument("--output", type=Path, default=Path("results/bench/rpie.json"))
    asked = options.parse_args()
    torch.set_num_threads(1)
    data = make_data()
    seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    errors: dict[str, float] = {}
    try:
        for _ in range(asked.rounds):
            for name, (engine, batch) in PROGRAMS.items():
                made = run(engine, batch, asked.passes, data)
                seconds[name] += made.seconds
                errors[name] = complex_error(made, data[3])
    except InputError as error:
        sys.exit(f"bench-rpie: {error}")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    names = list(PROGRAMS)
    ratios = {
        f"{theirs} / {ours}": medians[theirs] / medians[ours]
        for ours, theirs in zip(names[::2], names[1::2], strict=True)
    }
    report = {
        "conditions": f"N={SIDE}, {len(data[0])} patterns, step {STEP} px, known triangle probe, "
        f"1 thread, {asked.rounds} rounds of {asked.passes} passes in turn",
        "seconds_per_pass_median": medians,
        "seconds_per_pass_least": {name: min(values) for name, values in seconds.items()},
        "ratios_of_medians": ratios,
        "complex_error": errors,
        "versions": {name: _version(name) for name in ("ptycho-torch", "torch", "numpy", "ptychi")},
        "machine": f"{platform.system()} {platform.machine()}",
    }
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    asked.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
