"""Our rPIE beside pty-chi's, on the same data: `make bench-rpie` (needs `make setup-baseline`).

N = 64, 225 patterns at a step of 10 px, triangle probe, known; one thread. Programs take turns,
round after round, so that other work on the machine hits all of them; times are per iteration.
Quality is the complex error after the last iteration, less one factor, where a tenth of the most
light fell.
"""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from ptychi_rpie import reconstruct_by_ptychi
from side_by_side import command, ratio, seconds, summary, table, times

from ptycho_torch.config.dataset import ObjectSettings, TriangleProbe
from ptycho_torch.config.scan import ConventionalSettings, RpieSettings
from ptycho_torch.data.scan import Scan
from ptycho_torch.physics.predict import predict_amplitudes
from ptycho_torch.reconstruct.rpie import Reconstruction, reconstruct
from ptycho_torch.runtime.markdown import number
from ptycho_torch.simulate.dataset import make_probe
from ptycho_torch.simulate.frames import draw_objects

SIDE, STEP, PLACES = 64, 10, 15
Program = Callable[[Scan, RpieSettings], Reconstruction]
PROGRAMS: dict[str, tuple[Program, int]] = {
    "ours, 1 a batch": (reconstruct, 1),
    "pty-chi rPIE, 1 a batch": (reconstruct_by_ptychi, 1),
    "ours, 15 a batch": (reconstruct, 15),
    "pty-chi rPIE, 15 a batch": (reconstruct_by_ptychi, 15),
}
"""Name -> program, frames a batch; pairs stand together."""


def make_data() -> tuple[Any, Any, Any, Any]:
    """Return amplitudes, positions, probe and object, free of noise."""
    size = SIDE + STEP * (PLACES - 1) + 2
    thing = draw_objects(ObjectSettings(size_px=size, set_phi=True), images=1, seed=1)[0]
    thing = thing / np.abs(thing).max()
    probe = make_probe(TriangleProbe(shape="triangle"), SIDE)[None].astype(np.complex64)
    places = 1.0 + STEP * np.arange(PLACES)
    positions = np.stack(np.meshgrid(places, places, indexing="ij"), -1).reshape(-1, 2)
    return predict_amplitudes(thing, probe, positions), positions, probe, thing


def run(
    program: Program, batch: int, iterations: int, data: tuple[Any, Any, Any, Any]
) -> Reconstruction:
    """Reconstruct by one program."""
    settings = ConventionalSettings(iterations=iterations, batch_size=batch)
    amplitude, positions, probe, _ = data
    scan = Scan(source="made", amplitude_nHW=amplitude, positions_n2=positions, probe_MHW=probe)
    return program(scan, settings)


def complex_error(made: Reconstruction, thing: Any) -> float:
    """Return the relative error less one complex factor."""
    rows, columns = np.nonzero(made.light_YX > 0.1 * made.light_YX.max())
    found = made.object_YX[rows, columns]
    true = thing[rows + made.origin[0], columns + made.origin[1]]
    factor = np.vdot(found, true) / np.vdot(found, found)
    return float(np.linalg.norm(factor * found - true) / np.linalg.norm(true))


def measure(rounds: int = 3, iterations: int = 5) -> dict[str, Any]:
    """Return seconds an iteration, ratios and errors of all programs."""
    torch.set_num_threads(1)
    data = make_data()
    taken: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    errors: dict[str, float] = {}
    for _ in range(rounds):
        for name, (program, batch) in PROGRAMS.items():
            made = run(program, batch, iterations, data)
            taken[name] += made.seconds
            errors[name] = complex_error(made, data[3])
    return {
        "conditions": f"N={SIDE}, {len(data[0])} patterns, step {STEP} px, known triangle probe, "
        f"one thread, {rounds} rounds of {iterations} iterations in turn",
        "seconds_per_pass": taken,
        "complex_error": errors,
        "ptychi": version("ptychi"),
    }


def tables(result: Mapping[str, Any]) -> str:
    """Return a row per program, each of theirs beside ours."""
    programs = summary(result["seconds_per_pass"])
    names = list(programs)
    rows = []
    for i, name in enumerate(names):
        against = ""
        if i % 2:
            ours = names[i - 1]
            against = times(ratio(result["seconds_per_pass"], name, ours))
        error = number(result["complex_error"][name], 2)
        rows.append([name, seconds(programs[name]), against, error])
    header = ["program", "an iteration", "in units of ours", "complex error"]
    return f"{result['conditions']}; pty-chi {result['ptychi']}.\n\n{table(header, rows)}"


if __name__ == "__main__":
    command("rpie", measure, tables)
