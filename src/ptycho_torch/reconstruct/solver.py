"""One iteration of rPIE over a scan's frames: the equations of `rpie.py` in torch.

Letters: n frames, B frames of a batch, M incoherent probe modes, H rows, W columns of a frame, Y
rows, X columns of the object's canvas.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fft import fft2, ifft2, ifftshift

from ptycho_torch.config.reconstruct import RpieSettings
from ptycho_torch.physics.views import fourier_shift
from ptycho_torch.reconstruct.canvas import Canvas
from ptycho_torch.runtime.errors import InputError

Array = NDArray[Any]
# Under a modulus or a sum of intensities, which may be 0: its inverse is finite in float32.
_DARK = 1e-20
# Moved probes and their steps are kept between iterations if all of them take less than this.
_KEPT_BYTES = 2**29


class Frames:
    """Measured amplitudes as the transform gives them: zero frequency first, not normalised.

    Raises
    ------
    InputError
        If good pixels hold NaN, infinity or negative values, or no light at all.
    """

    def __init__(self, amplitude_nHW: Array, good_nHW: Array | None) -> None:
        real = np.float64 if amplitude_nHW.dtype == np.float64 else np.float32
        side = float(amplitude_nHW.shape[-1])
        observed: Array = amplitude_nHW.astype(real)
        if good_nHW is not None:
            observed = np.where(good_nHW, observed, real(0))
        if not np.isfinite(observed).all() or (observed < 0).any():
            raise InputError(
                "frames hold NaN, infinity or negative values where the mask says good; mask "
                "those pixels or remove those frames"
            )
        self.total = float(observed.sum(dtype=np.float64)) * side
        if not self.total > 0:
            raise InputError("the frames are dark in all good pixels; nothing can be reconstructed")
        self.power = float(np.square(observed, dtype=np.float64).sum()) / len(observed)
        self.observed_nHW = ifftshift(torch.from_numpy(observed), dim=(-2, -1)) * side
        self.good_nHW: Tensor | None = None
        if good_nHW is not None and not good_nHW.all():
            good = torch.from_numpy(np.broadcast_to(good_nHW, observed.shape).astype(real))
            self.good_nHW = ifftshift(good, dim=(-2, -1))

    def __len__(self) -> int:
        return len(self.observed_nHW)


class Solver:
    """The object and the probe as they stand, and how an iteration changes them."""

    def __init__(
        self, frames: Frames, canvas: Canvas, probe_MHW: Array, begin_YX: Array, *, device: str
    ) -> None:
        double = frames.observed_nHW.dtype == torch.float64
        kind = torch.complex128 if double else torch.complex64
        self.frames, self.device = frames, torch.device(device)
        # A copy: the start object is the caller's.
        self.object_YX = torch.tensor(begin_YX, dtype=kind, device=self.device).contiguous()
        self.probe_MHW = torch.tensor(probe_MHW, dtype=kind, device=self.device)
        self.observed_nHW = frames.observed_nHW.to(self.device)
        self.good_nHW = None if frames.good_nHW is None else frames.good_nHW.to(self.device)
        self.modulus_nHW = torch.empty_like(self.observed_nHW)
        self.corners = canvas.whole_n2.tolist()
        self.fraction_n2 = canvas.fraction_n2.to(self.device) if canvas.fractional else None
        self.power = float(self.probe_MHW.abs().square().sum())
        # What a known probe's steps are in every iteration; emptied when the probe changes.
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}
        views = len(self.corners) if canvas.fractional else 1
        self.keep = 2 * views * self.probe_MHW.nbytes <= _KEPT_BYTES

    def iterate(self, order: Array, settings: RpieSettings, *, refine: bool) -> float:
        """Visit all frames in the given order; return the iteration's R factor."""
        size = min(settings.batch_size or len(order), len(order))
        if size == 1:
            for frame in order.tolist():
                self._visit_one(frame, settings, refine)
        else:
            # Of nearly equal size: a last batch of a frame or two would leave an object and a
            # probe that fit those frames, at the cost of all others.
            for batch in np.array_split(order, -(-len(order) // size)):
                self._visit_batch(batch, settings, refine)
        if refine:
            self._keep_power()
        wrong = (self.modulus_nHW - self.observed_nHW).abs_()
        if self.good_nHW is not None:
            wrong *= self.good_nHW
        return float(wrong.sum(dtype=torch.float64)) / self.frames.total

    def _visit_one(self, frame: int, settings: RpieSettings, refine: bool) -> None:
        """rPIE's step: one frame, on a view of the object."""
        row, column = self.corners[frame]
        height, width = self.probe_MHW.shape[1:]
        window_HW = self.object_YX[row : row + height, column : column + width]
        probe_MHW, step_MHW = self._probe_and_step(frame, settings)
        change_MHW = self._change((window_HW * probe_MHW)[None], frame, frame + 1)[0]
        seen_HW = window_HW.clone() if refine else None
        move_MHW = step_MHW * change_MHW
        # One mode spares a sum.
        window_HW += move_MHW[0] if len(move_MHW) == 1 else move_MHW.sum(dim=0)
        if seen_HW is not None:
            self._refine_probe(seen_HW[None], change_MHW[None], [frame], settings)

    def _probe_and_step(self, frame: int, settings: RpieSettings) -> tuple[Tensor, Tensor]:
        """Return the probe that a frame sees, and what its change is multiplied by, (M, H, W)."""
        key = 0 if self.fraction_n2 is None else frame
        if key in self.kept:
            return self.kept[key]
        probe_MHW = self._moved([frame])[0]
        light_HW = probe_MHW.abs().square().sum(dim=0)
        alpha = settings.alpha
        weight_HW = settings.object_step / (
            (1 - alpha) * light_HW + alpha * light_HW.amax() + _DARK
        )
        both = probe_MHW, probe_MHW.conj().resolve_conj() * weight_HW
        if self.keep:
            self.kept[key] = both
        return both

    def _visit_batch(self, frames: Array, settings: RpieSettings, refine: bool) -> None:
        """Change the object by all frames of a batch at once."""
        height, width = self.probe_MHW.shape[1:]
        places = [
            (slice(row, row + height), slice(column, column + width))
            for row, column in (self.corners[frame] for frame in frames)
        ]
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
        alpha = settings.alpha
        weight_YX = (1 - alpha) * light_YX + alpha * light_YX.amax() + _DARK
        self.object_YX += total_YX * (settings.object_step / weight_YX)
        if refine:
            self._refine_probe(windows_BHW, change_BMHW, frames, settings)

    def _change(self, exit_BMHW: Tensor, which: Tensor | int, stop: int = 0) -> Tensor:
        """Return what turns exit waves into waves of the measured modulus, (B, M, H, W)."""
        rows: Any = slice(which, stop) if isinstance(which, int) else which
        wave_BMHW = fft2(exit_BMHW)
        if wave_BMHW.shape[1] == 1:
            modulus_BHW = wave_BMHW[:, 0].abs()
        else:
            modulus_BHW = torch.view_as_real(wave_BMHW).square().sum(dim=(1, -1)).sqrt()
        self.modulus_nHW[rows] = modulus_BHW
        excess_BHW = self.observed_nHW[rows] / (modulus_BHW + _DARK)
        excess_BHW -= 1
        if self.good_nHW is not None:
            excess_BHW *= self.good_nHW[rows]
        wave_BMHW *= excess_BHW[:, None]
        return ifft2(wave_BMHW)

    def _refine_probe(
        self, windows_BHW: Tensor, change_BMHW: Tensor, frames: Any, settings: RpieSettings
    ) -> None:
        """Change the probe by a batch; each frame's part is moved back by its fraction."""
        parts_BMHW = windows_BHW.conj()[:, None] * change_BMHW
        if self.fraction_n2 is not None:
            parts_BMHW = fourier_shift(parts_BMHW, -self.fraction_n2[frames][:, None])
        seen_HW = windows_BHW.abs().square().sum(dim=0)
        alpha = settings.probe_alpha
        weight_HW = (1 - alpha) * seen_HW + alpha * seen_HW.amax() + _DARK
        self.probe_MHW += parts_BMHW.sum(dim=0) * (settings.probe_step / weight_HW)
        self.kept.clear()

    def _moved(self, frames: Any) -> Tensor:
        """Return the probes that frames see, (B, M, H, W), or (1, M, H, W) for all alike."""
        if self.fraction_n2 is None:
            return self.probe_MHW[None]
        return fourier_shift(self.probe_MHW[None], self.fraction_n2[frames][:, None])

    def _keep_power(self) -> None:
        """Give the probe its power back, and the object what it lost: no pattern changes."""
        factor = (self.power / float(self.probe_MHW.abs().square().sum())) ** 0.5
        self.probe_MHW *= factor
        self.object_YX /= factor
        self.kept.clear()
