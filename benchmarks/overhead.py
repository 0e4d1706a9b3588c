"""What a training job adds to the bare loop of its steps: `make bench ONLY=overhead`.

`train.fit.fit`, which is Lightning's Trainer, beside a loop written out here, with the same
network, data, batches, physics, loss, clipping, optimiser and arithmetic, which validates after
each epoch as well and ends with the same weights. Compared is a step of the steady state: from
each program's time is taken its own time for no epoch, in which network and Trainer are made. Then
what the job's process costs before its first step.

Letters: n groups, C patches of a group (1 here), H rows, W columns, M probe modes.
"""

import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from side_by_side import Goal, command, ratio, seconds, summary, table, take_turns, times
from torch import Tensor, nn

from ptycho_torch.config.read import load_yaml, parse_study
from ptycho_torch.config.study import run_settings
from ptycho_torch.config.training import NormClip, RunSettings
from ptycho_torch.data.batch import LOSSES, Batch
from ptycho_torch.data.module import EVAL_BATCH, epoch_order
from ptycho_torch.data.training import TrainingData
from ptycho_torch.networks import build_generator
from ptycho_torch.physics.forward import amplitudes
from ptycho_torch.runtime.locks import choose_device
from ptycho_torch.runtime.markdown import number
from ptycho_torch.runtime.streams import named_seed
from ptycho_torch.simulate.dataset import make_probe, simulate_split
from ptycho_torch.train.device import RecordedStep, numerics, records_steps
from ptycho_torch.train.fit import fit
from ptycho_torch.train.module import PtychoModule
from ptycho_torch.train.schedule import make_optimizer

ROOT = Path(__file__).resolve().parents[1]
JOB, BARE = "the job", "bare loop"
SIZES: dict[str, dict[str, Any]] = {
    "N=64, width 32": {"study": "full.yaml", "size_px": 140, "epochs": 1},
    "N=32, width 8": {"study": "config.yaml", "size_px": 160, "epochs": 2},
}
GOALS = {"N=64, width 32": 1.02, "N=32, width 8": 1.05}
"""Name -> largest time of a step of the job, in units of the bare loop's."""
"""Name -> study, side of the object, epochs. The first has a sixteenth of the patches of one image
of the protocol, training to validation as there (6.3 to 1); the second is the small study's."""

PROGRAMS = {
    "import numpy": "import numpy",
    "import torch": "import torch",
    "import the training job": "import ptycho_torch.train.run",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A run and its data."""

    run: RunSettings
    data: TrainingData


def make_case(study: str | Path, size_px: int, epochs: int, **execution: Any) -> Case:
    """Return a study's control, clipped by the global norm, on a smaller object.

    execution: changed settings of that block; on the CPU if they do not say otherwise.
    """
    settings = parse_study(load_yaml(ROOT / "config" / study), str(study))
    name = settings.stage_a.dataset
    data = settings.datasets[name]
    thing = data.object.model_copy(update={"size_px": size_px})
    data = data.model_copy(update={"object": thing, "images_per_split": 1})
    probe = make_probe(data.probe, data.patch_px)
    run = run_settings(settings, name, settings.stage_a.control, seed=0)
    training = run.training.model_copy(update={"epochs": epochs})
    clip = NormClip(gradient_clip_algorithm="norm", max_norm=1.0)
    changes = {"accelerator": "cpu", "clip": clip, **execution}
    groups, scale = {}, None
    for split in ("train", "validation"):
        made = simulate_split(data, split, probe, intensity_scale=scale)
        scale = made.intensity_scale
        frames = np.moveaxis(made.arrays["diffraction"], -1, 1)
        groups[split] = Batch(torch.from_numpy(np.ascontiguousarray(frames)))
    return Case(
        run=run.model_copy(
            update={
                "training": training,
                "execution": run.execution.model_copy(update=changes),
            }
        ),
        data=TrainingData(
            **groups,
            scales={split: found.scales(scale) for split, found in groups.items()},
            probe_MHW=torch.from_numpy(probe.astype(np.complex64)).reshape(-1, *probe.shape[-2:]),
        ),
    )


def job(case: Case) -> dict[str, Tensor]:
    """Train as a job does; return the last weights."""
    data = case.data
    return fit(PtychoModule(case.run, data), data.train, data.validation).last.weights


def bare_loop(case: Case) -> dict[str, Tensor]:
    """Train by the least code that takes the same steps; return the last weights."""
    with numerics(case.run.execution):
        torch.use_deterministic_algorithms(case.run.execution.deterministic)
        return _bare_loop(case)


def _bare_loop(case: Case) -> dict[str, Tensor]:
    run, data, device = case.run, case.data, choose_device(case.run.execution.accelerator)
    scaled = run.training.input_scaling == "statistical"
    scale = data.train.statistical_scale() if scaled else 1.0
    clip, size = run.execution.clip, run.training.batch_size
    assert clip.gradient_clip_algorithm == "norm" and run.training.optimizer.name == "adam"
    network = build_generator(
        run.generator, channels=1, patch_px=run.patch_px, seed=named_seed(run.seed, "weights")
    ).to(device)
    recorded = records_steps(run.execution, device, merges=False)
    optimizer = make_optimizer(run.training.optimizer, network.parameters(), recorded=recorded)
    train, validation = (groups.to(device) for groups in (data.train, data.validation))
    probe_MHW, scales = data.probe_MHW.to(device), data.scales

    def step(batch: Batch, look: bool) -> None:
        observed_BCHW = batch.amplitude_BCHW
        optimizer.zero_grad()
        predicted = amplitudes(network(observed_BCHW * scale), probe_MHW)
        scales["train"].loss(run.training.loss, predicted, observed_BCHW).backward()
        nn.utils.clip_grad_norm_(network.parameters(), clip.max_norm)
        optimizer.step()

    def validate() -> list[float]:
        losses = []
        for batch in validation.batches(EVAL_BATCH):
            observed_BCHW = batch.amplitude_BCHW
            predicted = amplitudes(network(observed_BCHW * scale), probe_MHW)
            losses += [scales["validation"].loss(n, predicted, observed_BCHW) for n in LOSSES]
        return torch.stack(losses).tolist()

    take = RecordedStep(step) if recorded else step
    for epoch in range(run.training.epochs):
        order = torch.from_numpy(epoch_order(run.seed, epoch, len(train))).to(device)
        for i in range(len(order) // size):
            take(train.take(order[i * size : (i + 1) * size]), False)
        with torch.no_grad():
            validate()
    return {name: value.detach().cpu() for name, value in network.state_dict().items()}


def start_up(rounds: int) -> dict[str, list[float]]:
    """Return CPU seconds of processes that only import, in turn."""
    import resource

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    found: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(rounds):
        for name, program in PROGRAMS.items():
            before = used()
            subprocess.run([sys.executable, "-c", program], check=True)
            found[name].append(used() - before)
    return found


def measure(
    sizes: Mapping[str, Mapping[str, Any]] = SIZES, rounds: int = 3, threads: int = 2
) -> dict[str, Any]:
    """Return what `compare` finds, and CPU seconds of imports."""
    torch.set_num_threads(threads)
    return {"sizes": compare(sizes, rounds), "start_up_cpu_s": start_up(rounds)}


def compare(sizes: Mapping[str, Mapping[str, Any]], rounds: int) -> dict[str, Any]:
    """Return seconds of all epochs at each size, without the start."""
    found: dict[str, Any] = {}
    for name, size in sizes.items():
        case, none = make_case(**size), make_case(**{**size, "epochs": 0})
        programs = {
            (name, epochs): partial(program, of)
            for epochs, of in (("some", case), ("none", none))
            for name, program in ((JOB, job), (BARE, bare_loop))
        }
        began = time.perf_counter()
        turns = take_turns(programs, rounds=rounds, warmups=1)
        taken = {
            name: [a - b for a, b in zip(turns[name, "some"], turns[name, "none"], strict=True)]
            for name in (JOB, BARE)
        }
        steps = case.run.training.epochs * (len(case.data.train) // case.run.training.batch_size)
        found[name] = {
            "seconds": taken,
            "steps": steps,
            "validation_patches": case.run.training.epochs * len(case.data.validation),
            "without_an_epoch_s": summary({name: turns[name, "none"] for name in (JOB, BARE)}),
            "measured_s": time.perf_counter() - began,
        }
    return found


def tables(result: Mapping[str, Any]) -> str:
    """Return the job beside the bare loop, and what its process costs before the first step."""
    rows = []
    for name, size in result["sizes"].items():
        taken = size["seconds"]
        programs = summary(taken)
        for program in programs:
            step = number(1000 * programs[program]["median_s"] / size["steps"])
            against = "" if program == BARE else times(ratio(taken, program, BARE))
            rows.append([name, program, seconds(programs[program]), step, against])
    header = ["size", "program", "all epochs", "ms a step", "in units of the bare loop"]
    cpu = summary(result["start_up_cpu_s"])
    imports = table(
        ["process", "CPU time until it could begin"],
        [[name, seconds(program)] for name, program in cpu.items()],
    )
    what = "; ".join(
        f"{name}: {size['steps']} steps, {size['validation_patches']} validation patches"
        for name, size in result["sizes"].items()
    )
    rounds = len(next(iter(result["start_up_cpu_s"].values())))
    return f"{what}; {rounds} rounds.\n\n{table(header, rows)}\n\n{imports}"


def goals(result: Mapping[str, Any]) -> list[Goal]:
    """Return what a step of the steady state takes beside the bare loop, validation in both."""
    found = []
    for name, most in GOALS.items():
        if name in result["sizes"]:
            reached = ratio(result["sizes"][name]["seconds"], JOB, BARE)
            what = f"step of a training job over that of a bare loop, {name}"
            asked = f"at most {most:g} times, without the start"
            met = reached["median"] <= most
            found.append(Goal(what, asked, times(reached), met))
    return found


if __name__ == "__main__":
    command("overhead", measure, tables)
