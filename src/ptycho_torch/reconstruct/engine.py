"""One driver for all engines: a scan with a probe in, the object on its canvas out.

Letters as in `problem`.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.scan import RpieSettings
from ptycho_torch.data.scan import Array, Scan
from ptycho_torch.physics.predict import predict_amplitudes
from ptycho_torch.reconstruct.problem import pose
from ptycho_torch.reconstruct.ptychi_adapter import Ptychi
from ptycho_torch.reconstruct.rpie import Rpie

Engine = Literal["rpie", "ptychi-rpie", "ptychi-lsqml"]
Stopped = Literal["iterations", "no_change", "non_finite"]
OnIteration = Callable[[int, float], None]
# Iterations that `stop_change` looks back.
_LOOK_BACK = 10
# Iterations from which on R is judged, by how much its second half must lower it, and the R above
# which an object is in doubt.
_ENOUGH, _FLAT, _FAR = 10, 0.9, 0.25
# Pty-chi pads, and says so, where less than this is left round the windows.
_PTYCHI_MARGIN_PX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """What an engine returns.

    object_YX: complex transmission, 1 where no light fell; origin: (row, column) of its pixel
    [0, 0], so that a window at p starts at p - origin; light_YX: the probe's intensity summed over
    the frames in use; error: amplitude R factor of each iteration over the good pixels, rPIE's as
    met in it, each batch before its own update, pty-chi's after it; seconds: wall time of each;
    snapshots: the object after the iterations that were requested.
    """

    object_YX: Array
    origin: tuple[int, int]
    probe_MHW: Array
    light_YX: Array
    error: tuple[float, ...]
    seconds: tuple[float, ...]
    stopped: Stopped
    snapshots: dict[int, Array]

    def predict(self, positions_n2: Array) -> NDArray[np.float32]:
        """Return the amplitudes that it predicts for frames at positions, (n, H, W)."""
        return predict_amplitudes(self.object_YX, self.probe_MHW, positions_n2, origin=self.origin)


def reconstruct(
    scan: Scan,
    settings: RpieSettings,
    *,
    engine: Engine = "rpie",
    use_n: Array | None = None,
    snapshots: Collection[int] = (),
    on_iteration: OnIteration | None = None,
    device: str = "cpu",
) -> Reconstruction:
    """Reconstruct the object, and if requested the probe, from a scan with a probe.

    Of the frames only those of `use_n`, (n,) bool, are used; the canvas holds all. The object is
    kept after the iterations `snapshots`, from 1; `on_iteration` is called with each one's number
    and error. Frames of float64 are worked in double precision by rPIE, all else in single; pty-chi
    runs on the CPU. The probe's power is in units of amplitude squared, or see `probe_scale`.
    `InputError` if there is no probe or no light in good pixels, or pty-chi is not installed or
    cannot take the scan.
    """
    if engine != "rpie":
        margin = max(_PTYCHI_MARGIN_PX, settings.margin_px)
        settings = settings.model_copy(update={"margin_px": margin})
    problem = pose(scan, settings, use_n)
    solver: Rpie | Ptychi
    if engine == "rpie":
        solver = Rpie(problem, settings, device)
    else:
        solver = Ptychi(problem, settings, lsqml=engine == "ptychi-lsqml")
    kept: dict[int, Array] = {}
    errors: list[float] = []
    seconds: list[float] = []
    stopped: Stopped = "iterations"
    for number in range(1, settings.iterations + 1):
        error, taken_s = solver.iterate(number)
        errors.append(error)
        seconds.append(taken_s)
        if number in snapshots:
            kept[number] = solver.results()[0]
        if on_iteration is not None:
            on_iteration(number, error)
        if not np.isfinite(error):
            stopped = "non_finite"
            break
        if number > _LOOK_BACK and settings.stop_change > 0:
            before = errors[-1 - _LOOK_BACK]
            if before - error < settings.stop_change * before:
                stopped = "no_change"
                break
    object_YX, probe_MHW = solver.results()
    return Reconstruction(
        object_YX=object_YX,
        origin=problem.origin,
        probe_MHW=probe_MHW,
        light_YX=problem.illumination(probe_MHW),
        error=tuple(errors),
        seconds=tuple(seconds),
        stopped=stopped,
        snapshots=kept,
    )


def doubt_of(errors: Sequence[float], scan: Scan) -> str | None:
    """Return why a reconstruction has hardly found the object: R stays where it is, far above what
    photon noise alone leaves; None if there is no reason to doubt it."""
    half, last = errors[len(errors) // 2], errors[-1]
    if len(errors) < _ENOUGH or last < _FLAT * half:
        return None
    noise = 0.0
    if scan.intensity_scale is not None:
        # Roots of counts are off by 0.4 in the mean where there is a photon or more.
        roots = np.where(scan.used, scan.amplitude_nHW, 0) * scan.intensity_scale
        noise = 0.4 * int((roots >= 1).sum()) / float(roots.sum(dtype=np.float64))
    if last <= max(_FAR, 2 * noise):
        return None
    return (
        f"not converging: the R factor stays at {last:.3g}; run `ptycho-torch check` on the file "
        "for its conventions, or refine the probe (--refine-probe --probe-scale frames)"
    )
