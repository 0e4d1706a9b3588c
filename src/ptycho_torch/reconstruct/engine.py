"""The driver of rPIE: a scan with a probe in, the object on its canvas out.

Letters as in `rpie`. Positions are the (row, column) of a window's upper left corner, pixels,
fractional, of any sign.
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.base import placed
from ptycho_torch.config.scan import RpieSettings
from ptycho_torch.data.scan import Array, Scan
from ptycho_torch.physics.predict import predict_amplitudes
from ptycho_torch.reconstruct.rpie import Rpie
from ptycho_torch.runtime.errors import InputError

OnIteration = Callable[[int, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """What rPIE returns.

    object_YX: complex transmission, 1 where no light fell; origin: (row, column) of its pixel
    [0, 0], so that a window at p starts at p - origin; light_YX: the probe's intensity summed over
    the frames; error: amplitude R factor of each iteration over the good pixels as met in it, each
    batch before its own update; seconds: wall time of each; snapshots: the object after the
    iterations that were requested.
    """

    object_YX: Array
    origin: tuple[int, int]
    probe_MHW: Array
    light_YX: Array
    error: tuple[float, ...]
    seconds: tuple[float, ...]
    snapshots: dict[int, Array]

    def predict(self, positions_n2: Array) -> NDArray[np.float32]:
        """Return the amplitudes that it predicts for frames at positions, (n, H, W)."""
        return predict_amplitudes(self.object_YX, self.probe_MHW, positions_n2, origin=self.origin)


def reconstruct_frames(
    amplitude_nHW: Array, positions_n2: Array, probe_MHW: Array, **settings: Any
) -> Reconstruction:
    """Return rPIE's reconstruction of arrays, which `ptycho_torch.reconstruct` calls.

    amplitude_nHW: root of the measured intensity, the zero frequency at [H // 2, W // 2];
    positions_n2: (row, column) of each frame's window in the object, pixels; probe_MHW: modes, or
    one as (H, W); settings: of `RpieSettings`. `InputError` as `Scan` and `reconstruct`, or at a
    setting that is impossible.
    """
    with placed("reconstruct: "):
        chosen = RpieSettings(**settings)
    side = np.shape(amplitude_nHW)[-1]
    scan = Scan(
        source="arrays",
        amplitude_nHW=np.asarray(amplitude_nHW, dtype=np.float32),
        positions_n2=np.asarray(positions_n2, dtype=np.float64),
        probe_MHW=np.asarray(probe_MHW, dtype=np.complex64).reshape(-1, side, side),
    )
    return reconstruct(scan, chosen)


def reconstruct(
    scan: Scan,
    settings: RpieSettings,
    *,
    snapshots: Collection[int] = (),
    on_iteration: OnIteration | None = None,
    device: str = "cpu",
) -> Reconstruction:
    """Reconstruct the object, and if requested the probe, from a scan with a probe.

    The object is kept after the iterations `snapshots`, from 1; `on_iteration` is called with each
    one's number and error. Frames of float64 are worked in double precision, all else in single.
    `InputError` if there is no probe or no light in good pixels, or the result is not finite.
    """
    solver = Rpie(scan, settings, device)
    kept: dict[int, Array] = {}
    errors: list[float] = []
    seconds: list[float] = []
    for number in range(1, settings.iterations + 1):
        begin = time.perf_counter()
        error = solver.iterate(number)
        seconds.append(time.perf_counter() - begin)
        errors.append(error)
        if number in snapshots:
            kept[number] = solver.results()[0]
        if on_iteration is not None:
            on_iteration(number, error)
        if not np.isfinite(error):
            raise InputError(
                f"{scan.source}: the reconstruction is not finite after iteration {number}; take a "
                "larger alpha, or a smaller step"
            )
    object_YX, probe_MHW = solver.results()
    return Reconstruction(
        object_YX=object_YX,
        origin=solver.origin,
        probe_MHW=probe_MHW,
        light_YX=solver.light(),
        error=tuple(errors),
        seconds=tuple(seconds),
        snapshots=kept,
    )
