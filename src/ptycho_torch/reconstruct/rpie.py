"""rPIE: the regularised ptychographic iterative engine, sequential and batched; a scan with a probe
in, the object on its canvas out.

For each frame j of a batch, with the object's window O_j and the probe P moved by the fraction of
its position (physics/views.py),

    psi_jm = O_j P_jm,   Psi = F psi,   d_j = F^-1 [ (A_j / sqrt(sum_m |Psi_jm|^2) - 1) Psi_jm ]
    O += step sum_j conj(P_j) d_j / ((1 - alpha) w + alpha max w),     w = sum_j |P_j|^2
    P += step sum_j conj(O_j) d_j / ((1 - alpha) v + alpha max v),     v = sum_j |O_j|^2

where products sum over the modes and w lives on the object's canvas. With one frame a batch this
is rPIE as published; with alpha -> 0 and all frames at once the object's step is the least-squares
one of error reduction. Masked pixels keep what is predicted: their term of d is 0.

Letters: n frames, B of a batch, M probe modes, H rows, W columns of a window, Y rows, X columns of
the canvas. Positions are the (row, column) of a window's upper left corner, pixels, of any sign.

A. Maiden, D. Johnson and P. Li, Optica 4, 736 (2017), doi:10.1364/OPTICA.4.000736; modes: P.
Thibault and A. Menzel, Nature 494, 68 (2013), doi:10.1038/nature11806.
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fft import fft2, ifft2, ifftshift

from ptycho_torch.config.base import placed
from ptycho_torch.config.scan import RpieSettings
from ptycho_torch.data.scan import Array, Scan
from ptycho_torch.physics.predict import illuminated, predict_amplitudes
from ptycho_torch.physics.views import fourier_shift, moved_probes, split_positions
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.streams import named_stream

# Under a modulus or a sum of intensities, which may be 0: its inverse is finite in float32.
_DARK = 1e-20

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

    @property
    def known_YX(self) -> Array:
        """The object, NaN where hardly any light reached it."""
        return np.where(illuminated(self.light_YX), self.object_YX, np.nan)

    def predict(self, positions_n2: Array) -> NDArray[np.float32]:
        """Return the amplitudes that it predicts for frames at positions, (n, H, W)."""
        return predict_amplitudes(self.object_YX, self.probe_MHW, positions_n2, origin=self.origin)


def reconstruct_frames(
    amplitude_nHW: Array, positions_n2: Array, probe_MHW: Array, **settings: Any
) -> Reconstruction:
    """Return rPIE's reconstruction of arrays, which `ptycho_torch.reconstruct` calls.

    amplitude_nHW: root of the measured intensity, the zero frequency at [H // 2, W // 2];
    positions_n2: (row, column) of each frame's window in the object, pixels; probe_MHW: modes, or
    one as (H, W); settings: of `RpieSettings`. `InputError` as they, `Scan` and `reconstruct`.
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
        errors.append(solver.iterate(number))
        seconds.append(time.perf_counter() - begin)
        if number in snapshots:
            kept[number] = solver.results()[0]
        if on_iteration is not None:
            on_iteration(number, errors[-1])
        # The error is of what was met, the object as the last batch has left it.
        if not (np.isfinite(errors[-1]) and torch.isfinite(solver.object_YX).all()):
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


class Rpie:
    """The object and the probe as they stand, and how an iteration changes them.

    The object begins as 1 on a canvas that holds all windows; origin: position of its pixel [0, 0].
    Frames are as the transform gives them: zero frequency first, not normalised.
    """

    def __init__(self, scan: Scan, settings: RpieSettings, device: str = "cpu") -> None:
        if scan.probe_MHW is None:
            raise InputError(
                f"{scan.source}: has no probe, and rPIE needs one to start from; add 'probeGuess' "
                "to the file"
            )
        good, probe = scan.used, scan.probe_MHW
        observed: Array = np.where(good, scan.amplitude_nHW, 0)
        kind = torch.complex128 if observed.dtype == np.float64 else torch.complex64
        if not observed.any():
            raise InputError(
                f"{scan.source}: the frames are dark in all good pixels: no light, no object"
            )
        whole, fraction = split_positions(torch.from_numpy(scan.positions_n2.astype(np.float64)))
        first, side = whole.amin(dim=0), scan.patch_px
        row, column = first.tolist()
        self.origin: tuple[int, int] = (row, column)
        self.windows = [
            (slice(row, row + side), slice(column, column + side))
            for row, column in (whole - first).tolist()
        ]
        self.fraction_n2 = fraction.to(device) if (fraction != 0).any() else None
        if settings.probe_scale == "frames":
            power = float(np.square(np.abs(probe), dtype=np.float64).sum())
            mean = float(np.square(observed, dtype=np.float64).sum()) / len(observed)
            probe = probe * np.sqrt(mean / power)
        self.settings, self.device = settings, torch.device(device)
        self.stream = named_stream(settings.seed, "rpie", "order")
        size = (whole.amax(dim=0) + side - first).tolist()
        self.object_YX = torch.ones(size, dtype=kind, device=device)
        self.probe_MHW = torch.tensor(probe, dtype=kind, device=device)
        self.power = float(self.probe_MHW.abs().square().sum())
        self.total = float(observed.sum(dtype=np.float64)) * side
        self.observed_nHW = self._frames(observed) * float(side)
        self.good_nHW = None
        if not good.all():
            weights = np.broadcast_to(good, observed.shape).astype(observed.dtype)
            self.good_nHW = self._frames(weights)
        self.modulus_nHW = torch.empty_like(self.observed_nHW)

    def _frames(self, frames_nHW: Array) -> Tensor:
        return ifftshift(torch.from_numpy(frames_nHW), dim=(-2, -1)).to(self.device)

    def results(self) -> tuple[Array, Array]:
        """Return copies of the object and the probe."""
        return self.object_YX.cpu().numpy().copy(), self.probe_MHW.cpu().numpy().copy()

    def light(self) -> Array:
        """Return the probe's intensity summed over the frames' windows, (Y, X)."""
        intensity = self.probe_MHW.cpu().abs().square().sum(dim=0)
        light = torch.zeros(self.object_YX.shape, dtype=intensity.dtype)
        for window in self.windows:
            light[window] += intensity
        return light.numpy()

    @torch.inference_mode()
    def iterate(self, number: int) -> float:
        """Visit all frames in a new order; return the R factor as met."""
        settings, frames = self.settings, len(self.windows)
        order = self.stream.permutation(frames)
        refine = settings.refine_probe and number >= settings.probe_from_iteration
        size = settings.frames_at_once(frames)
        if size == 1:
            for frame in order.tolist():
                self._visit_one(frame, refine)
        else:
            # Of nearly equal size: a last batch of a frame or two would leave an object and a
            # probe that fit those frames, at the cost of all others.
            for batch in np.array_split(order, -(-frames // size)):
                self._visit_batch(batch, refine)
        if refine:
            # The probe gets its power back, and the object what it lost: no pattern changes.
            factor = (self.power / float(self.probe_MHW.abs().square().sum())) ** 0.5
            self.probe_MHW *= factor
            self.object_YX /= factor
        wrong = (self.modulus_nHW - self.observed_nHW).abs_()
        if self.good_nHW is not None:
            wrong *= self.good_nHW
        return float(wrong.sum(dtype=torch.float64)) / self.total

    def _visit_one(self, frame: int, refine: bool) -> None:
        """Change a view of the object by one frame: rPIE's step as published."""
        window_HW = self.object_YX[self.windows[frame]]
        probe_MHW = self._moved([frame])[0]
        change_MHW = self._change((window_HW * probe_MHW)[None], slice(frame, frame + 1))[0]
        weight_HW = _weight(probe_MHW.abs().square().sum(dim=0), self.settings.alpha)
        step_MHW = probe_MHW.conj() * (self.settings.object_step / weight_HW)
        if refine:
            # The probe's own step is by the object as it was.
            self._refine_probe(window_HW[None], change_MHW[None], [frame])
        window_HW += (step_MHW * change_MHW).sum(dim=0)

    def _visit_batch(self, frames: Array, refine: bool) -> None:
        """Change the object by all frames of a batch at once."""
        places = [self.windows[frame] for frame in frames]
        windows_BHW = torch.stack([self.object_YX[place] for place in places])
        probes_BMHW = self._moved(frames)
        index = torch.from_numpy(frames).to(self.device)
        change_BMHW = self._change(windows_BHW[:, None] * probes_BMHW, index)
        moves_BHW = (probes_BMHW.conj() * change_BMHW).sum(dim=1)
        light_BHW = probes_BMHW.abs().square().sum(dim=1).expand(len(frames), -1, -1)
        total_YX = torch.zeros_like(self.object_YX)
        light_YX = torch.zeros_like(self.object_YX.real)
        # A loop in a fixed order: sums by index are slower on a CPU, and not repeatable on a GPU.
        for place, move_HW, light_HW in zip(places, moves_BHW, light_BHW, strict=True):
            total_YX[place] += move_HW
            light_YX[place] += light_HW
        weight_YX = _weight(light_YX, self.settings.alpha)
        self.object_YX += total_YX * (self.settings.object_step / weight_YX)
        if refine:
            self._refine_probe(windows_BHW, change_BMHW, frames)

    def _change(self, exit_BMHW: Tensor, which: Any) -> Tensor:
        """Return what turns exit waves into waves of the measured modulus, (B, M, H, W)."""
        wave_BMHW = fft2(exit_BMHW)
        if wave_BMHW.shape[1] == 1:
            modulus_BHW = wave_BMHW[:, 0].abs()
        else:
            modulus_BHW = torch.view_as_real(wave_BMHW).square().sum(dim=(1, -1)).sqrt()
        self.modulus_nHW[which] = modulus_BHW
        excess_BHW = self.observed_nHW[which] / (modulus_BHW + _DARK)
        excess_BHW -= 1
        if self.good_nHW is not None:
            excess_BHW *= self.good_nHW[which]
        wave_BMHW *= excess_BHW[:, None]
        return ifft2(wave_BMHW)

    def _refine_probe(self, windows_BHW: Tensor, change_BMHW: Tensor, frames: Any) -> None:
        """Change the probe by a batch; each frame's part is moved back by its fraction."""
        parts_BMHW = windows_BHW.conj()[:, None] * change_BMHW
        if self.fraction_n2 is not None:
            parts_BMHW = fourier_shift(parts_BMHW, -self.fraction_n2[frames][:, None])
        seen_HW = windows_BHW.abs().square().sum(dim=0)
        weight_HW = _weight(seen_HW, self.settings.probe_alpha)
        self.probe_MHW += parts_BMHW.sum(dim=0) * (self.settings.probe_step / weight_HW)

    def _moved(self, frames: Any) -> Tensor:
        """Return the probes that frames see, (B, M, H, W), or (1, M, H, W) for all alike."""
        if self.fraction_n2 is None:
            return self.probe_MHW[None]
        return moved_probes(self.probe_MHW, self.fraction_n2[frames])


def _weight(light: Tensor, alpha: float) -> Tensor:
    """Return (1 - alpha) w + alpha max w."""
    return (1 - alpha) * light + alpha * light.amax() + _DARK
