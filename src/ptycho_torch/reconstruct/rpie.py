"""rPIE: the regularised ptychographic iterative engine, sequential and batched.

For each frame j of a batch, with the object's window O_j and the probe P moved by the fraction of
its position (physics/views.py),

    psi_jm = O_j P_jm,   Psi = F psi,   d_j = F^-1 [ (A_j / sqrt(sum_m |Psi_jm|^2) - 1) Psi_jm ]
    O += step sum_j conj(P_j) d_j / ((1 - alpha) w + alpha max w),     w = sum_j |P_j|^2
    P += step sum_j conj(O_j) d_j / ((1 - alpha) v + alpha max v),     v = sum_j |O_j|^2

where products sum over the modes and w lives on the object's canvas. With one frame a batch this
is rPIE as published; with alpha -> 0 and all frames at once the object's step is the least-squares
one of error reduction. Masked pixels keep what is predicted: their term of d is 0.

Letters: n frames, B frames of a batch, M incoherent probe modes, H rows, W columns of a frame, Y
rows, X columns of the object's canvas. Positions are the (row, column) of a window's corner,
pixels, fractional, of any sign.

A. Maiden, D. Johnson and P. Li, Optica 4, 736 (2017), doi:10.1364/OPTICA.4.000736; modes: P.
Thibault and A. Menzel, Nature 494, 68 (2013), doi:10.1038/nature11806.
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ptycho_torch.config.reconstruct import RpieSettings
from ptycho_torch.physics.predict import predict_amplitudes
from ptycho_torch.reconstruct.canvas import make_canvas
from ptycho_torch.reconstruct.solver import Frames, Solver
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.streams import named_stream

Array = NDArray[Any]
Stopped = Literal["iterations", "no_change", "non_finite"]
OnIteration = Callable[[int, float], None]
# Iterations that `stop_change` looks back.
_LOOK_BACK = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """What an engine returns."""

    object_YX: Array
    """Complex transmission on its canvas; 1, as it started, where no light fell."""

    origin: tuple[int, int]
    """(row, column) of the canvas' pixel [0, 0], pixels: a window at position p starts at
    p - origin."""

    probe_MHW: Array
    """Probe modes, as given (scaled, if requested) or refined."""

    light_YX: Array
    """Probe intensity summed over the frames that were used: how well a pixel is known."""

    error: tuple[float, ...]
    """Amplitude R factor of each iteration, sum |A_pred - A_obs| / sum A_obs over the good pixels,
    as met in the iteration: each batch before its own update."""

    seconds: tuple[float, ...]
    """Wall time of each iteration."""

    stopped: Stopped = "iterations"
    """Why it ended: all iterations done, no more change, or a value that is not finite."""

    snapshots: dict[int, Array] = field(default_factory=dict)
    """The object after the iterations that were requested."""

    def predict(self, positions_n2: Array) -> NDArray[np.float32]:
        """Return the amplitudes that it predicts for frames at positions, (n, H, W)."""
        return predict_amplitudes(self.object_YX, self.probe_MHW, positions_n2, origin=self.origin)


def reconstruct_rpie(
    amplitude_nHW: Array,
    positions_n2: Array,
    probe_MHW: Array,
    settings: RpieSettings,
    *,
    good_1HW: Array | None = None,
    use_n: Array | None = None,
    start: tuple[Array, tuple[int, int]] | None = None,
    snapshots: Collection[int] = (),
    on_iteration: OnIteration | None = None,
    device: str = "cpu",
) -> Reconstruction:
    """Reconstruct the object, and if requested the probe, from a scan.

    Parameters
    ----------
    amplitude_nHW
        Root of the measured intensity, >= 0, zero frequency at [H // 2, W // 2]; float64 is worked
        in double precision, all else in single.
    positions_n2
        Corners of the windows, pixels.
    probe_MHW
        Probe modes; their power in units of amplitude squared, or see `probe_scale`.
    good_1HW
        (1, H, W) or (n, H, W), true where measured; what masked pixels hold does not matter.
    use_n
        Which frames to use, (n,) bool: half scans, held-out frames. The canvas holds all.
    start
        Object to start from, and the position of its pixel [0, 0]; None: ones.
    snapshots
        Iterations after which the object is kept, from 1.
    on_iteration
        Called after each iteration with its number and its error.

    Raises
    ------
    InputError
        If frames and positions differ in number, or frames hold NaN, negative values or no light in
        good pixels.
    """
    use = used_frames(amplitude_nHW, positions_n2, use_n)
    given = None if start is None else (start[1], (start[0].shape[0], start[0].shape[1]))
    canvas = make_canvas(
        positions_n2, amplitude_nHW.shape[-1], margin_px=settings.margin_px, given=given
    ).only(use)
    good = good_1HW if good_1HW is None or len(good_1HW) == 1 else good_1HW[use]
    frames = Frames(amplitude_nHW[use], good)
    probe = scale_probe(probe_MHW, frames, settings)
    begin = np.ones(canvas.shape) if start is None else start[0]
    with torch.inference_mode():
        solver = Solver(frames, canvas, probe, begin, device=device)
        kept, errors, seconds, stopped = _iterate(solver, settings, snapshots, on_iteration)
        return Reconstruction(
            object_YX=solver.object_YX.cpu().numpy(),
            origin=canvas.origin,
            probe_MHW=solver.probe_MHW.cpu().numpy(),
            light_YX=canvas.illumination(solver.probe_MHW.cpu()).numpy(),
            error=tuple(errors),
            seconds=tuple(seconds),
            stopped=stopped,
            snapshots=kept,
        )


def _iterate(
    solver: Solver,
    settings: RpieSettings,
    snapshots: Collection[int],
    on_iteration: OnIteration | None,
) -> tuple[dict[int, Array], list[float], list[float], Stopped]:
    """Return snapshots, errors, seconds, and why it ended."""
    stream = named_stream(settings.seed, "rpie", "order")
    kept: dict[int, Array] = {}
    errors: list[float] = []
    seconds: list[float] = []
    for number in range(1, settings.iterations + 1):
        order = stream.permutation(len(solver.frames))
        refine = settings.refine_probe and number >= settings.probe_from_iteration
        begin = time.perf_counter()
        error = solver.iterate(order, settings, refine=refine)
        seconds.append(time.perf_counter() - begin)
        errors.append(error)
        if number in snapshots:
            kept[number] = solver.object_YX.cpu().numpy().copy()
        if on_iteration is not None:
            on_iteration(number, error)
        if not np.isfinite(error):
            return kept, errors, seconds, "non_finite"
        if number > _LOOK_BACK and settings.stop_change > 0:
            before = errors[-1 - _LOOK_BACK]
            if before - error < settings.stop_change * before:
                return kept, errors, seconds, "no_change"
    return kept, errors, seconds, "iterations"


def used_frames(amplitude_nHW: Array, positions_n2: Array, use_n: Array | None) -> Array:
    """Return the numbers of the frames to use."""
    if len(positions_n2) != len(amplitude_nHW):
        raise InputError(f"{len(amplitude_nHW)} frames, but {len(positions_n2)} positions")
    use = np.arange(len(amplitude_nHW)) if use_n is None else np.flatnonzero(use_n)
    if not len(use):
        raise InputError("no frame is left to reconstruct from; use at least one")
    return use


def scale_probe(probe_MHW: Array, frames: Frames, settings: RpieSettings) -> Array:
    """Return the probe at the scale that the settings ask for."""
    power = float(np.square(np.abs(probe_MHW), dtype=np.float64).sum())
    if not np.isfinite(power) or power == 0:
        raise InputError("the probe is not finite, or zero everywhere")
    if settings.probe_scale == "given":
        return probe_MHW
    return probe_MHW * np.sqrt(frames.power / power)
