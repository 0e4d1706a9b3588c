"""A training step on a GPU in every precision, beside the plain network and the floor; see gpu.py.

Letters: B batch, C patches of a group, M probe modes, H rows, W columns.
"""

import statistics
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import overhead
import side_by_side
import torch
from plain_network import plain_network
from torch import Tensor, nn
from training_step import Data, HalfPrecision, count_flops, training_step

from ptycho_torch.config.training import RunSettings
from ptycho_torch.data.batch import Batch
from ptycho_torch.networks import build_generator
from ptycho_torch.train.device import RecordedStep, numerics

Rows = Iterator[dict[str, Any]]
Program = Callable[[], object]


class Sizes(NamedTuple):
    """What is measured, and how much of it."""

    device: str = "cuda"
    study: str = "full.yaml"
    object_px: int = 140
    epochs: int = 10
    rounds: int = 5
    steps: int = 20
    product: int = 8192
    copied: int = 2**28
    jobs: tuple[int, ...] = (1, 2, 4, 8)
    sharing_s: float = 10.0
    arm_s: float = 120.0

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Name -> execution settings in which whole trainings are measured."""
        if self.device == "cpu":
            return {"the study's": {"accelerator": "cpu"}}
        fast = {"accelerator": "gpu", "precision": "tf32", "cuda_graphs": True}
        return {"tf32, recorded": fast, "the study's": {"accelerator": "gpu"}}


TINY = Sizes("cpu", "../tests/tiny.yaml", 48, 1, 1, 2, 64, 2**16, (1, 2), 0.5, 0.5)


def steps(sizes: Sizes, limit_s: float) -> Rows:
    """Time a step (forward, physics, MAE, backward, clip by norm, Adam) in each precision."""
    case, device = overhead.make_case(sizes.study, sizes.object_px, 0), sizes.device
    frames_nCHW = case.data.train.amplitude_BCHW[: case.run.training.batch_size]
    data = Data(frames_nCHW.to(device), case.data.probe_MHW.to(device))
    for precision in ("fp32", "bf16") if device == "cpu" else ("tf32", "bf16", "fp32"):
        with numerics(case.run.execution.model_copy(update={"precision": precision})):
            floor, *row = least_times(sizes, case.run, data, precision)
            yield from row
            able = {}
            for name, program in programs(sizes, case.run, data, precision).items():
                try:  # Without the clock: it compiles and records.
                    program()
                    able[name] = program
                except Exception as error:
                    yield failure(error, f"{name}, {precision}")
            for name, taken in side_by_side.take_turns(
                able, rounds=sizes.rounds, warmups=0
            ).items():
                ms = [1000 * t / sizes.steps for t in taken]
                middle, row = statistics.median(ms), {"precision": precision, "program": name}
                row |= {"ms a step": middle, "least": min(ms), "most": max(ms)}
                yield {**row, "times the floor": middle / floor}


def programs(sizes: Sizes, run: RunSettings, data: Data, precision: str) -> dict[str, Program]:
    """Return what takes some steps and waits for the device, by name."""
    settings, frame = run.generator, {"channels": 1, "patch_px": run.patch_px}

    def block(network: nn.Module, *, recorded: bool = False) -> Program:
        rate = torch.tensor(1e-4, device=sizes.device) if recorded else 1e-4
        # Plain: as it comes, since the fused one does not know complex weights.
        fused = None if network is plain else True
        adam = torch.optim.Adam(network.parameters(), lr=rate, fused=fused, capturable=recorded)

        def step(batch: Batch, look: bool) -> None:
            training_step(network, adam, Data(batch.amplitude_BCHW, data.probe_MHW))

        take = RecordedStep(step) if recorded else step

        def take_steps() -> None:
            for _ in range(sizes.steps):
                take(Batch(data.amplitude_BCHW), False)
            wait()

        return take_steps

    eager: nn.Module = build_generator(settings, **frame, seed=0).to(sizes.device)
    plain = plain_network(eager, settings, **frame).to(sizes.device)
    compiled: nn.Module = build_generator(settings, **frame, seed=0).to(sizes.device)
    if precision == "bf16":
        eager, compiled = HalfPrecision(eager), HalfPrecision(compiled)
    made = {"eager": block(eager)}
    if precision != "bf16":  # The FFT does not know bfloat16.
        made["plain"] = block(plain)
    if sizes.device == "cuda":
        compiled.compile()
        made |= {"recorded": block(eager, recorded=True), "compiled": block(compiled)}
        made["compiled and recorded"] = block(compiled, recorded=True)
    return made


def wait() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def least_times(
    sizes: Sizes, run: RunSettings, data: Data, precision: str
) -> tuple[float, dict[str, Any]]:
    """Return the least ms of a step, FLOPs at the rate of a matrix product or bytes at a copy's,
    and how it comes about; both rates are measured.

    FLOPs: the plain network's convolutions and products. Bytes: what the backward pass needs,
    weights, gradients and moments, each written once and read once.
    """
    frame = {"channels": 1, "patch_px": run.patch_px}
    ours = build_generator(run.generator, **frame, seed=0)
    plain = plain_network(ours, run.generator, **frame).to(sizes.device)
    adam = torch.optim.Adam(plain.parameters())
    flops = count_flops(lambda: training_step(plain, adam, data))
    moved = 2 * bytes_held(run)
    source = torch.rand(sizes.copied, device=sizes.device)
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    matrix = torch.rand(sizes.product, sizes.product, device=sizes.device, dtype=kind)
    copies = 2 * source.nbytes / least_s(partial(torch.empty_like(source).copy_, source))
    products = 2 * sizes.product**3 / least_s(partial(torch.matmul, matrix, matrix))
    ms = {"ms by FLOPs": 1000 * flops / products, "ms by bytes": 1000 * moved / copies}
    rates = {"TFLOP/s": products / 1e12, "GB/s": copies / 1e9}
    work = {"GFLOP": flops / 1e9, "MB": moved / 1e6}
    return max(ms.values()), {"floor": precision, **work, **rates, **ms}


def bytes_held(run: RunSettings) -> int:
    """Return the bytes of what the backward pass needs and of weights, gradients and moments."""
    saved: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage()._cdata] = tensor
        return tensor

    frames = (run.training.batch_size, 1, run.patch_px, run.patch_px)
    with torch.device("meta"):
        network = build_generator(run.generator, channels=1, patch_px=run.patch_px, seed=0)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            network(torch.empty(frames)).abs().sum().backward()
    own = [*network.parameters(), *network.buffers()]
    for tensor in own:
        saved.pop(tensor.untyped_storage()._cdata, None)
    held = [*saved.values(), *4 * list(network.parameters())]
    return sum(tensor.untyped_storage().nbytes() for tensor in held)


def least_s(program: Program) -> float:
    """Return the least time of ten calls, s."""
    once = {"": lambda: (program(), wait())}
    return min(side_by_side.take_turns(once, rounds=10, warmups=3)[""])


def failure(error: Exception, what: str) -> dict[str, str]:
    """Return the row of what failed; its traceback is printed."""
    traceback.print_exception(error)
    return {"failed": what, "error": f"{type(error).__name__}: {error}"[:200]}
