"""rPIE: the regularised ptychographic iterative engine, sequential and batched.

For each frame j of a batch, with the object's window O_j and the probe P moved by the fraction of
its position (physics/views.py),

    psi_jm = O_j P_jm,   Psi = F psi,   d_j = F^-1 [ (A_j / sqrt(sum_m |Psi_jm|^2) - 1) Psi_jm ]
    O += step sum_j conj(P_j) d_j / ((1 - alpha) w + alpha max w),     w = sum_j |P_j|^2
    P += step sum_j conj(O_j) d_j / ((1 - alpha) v + alpha max v),     v = sum_j |O_j|^2

where products sum over the modes and w lives on the object's canvas. With one frame a batch this
is rPIE as published; with alpha -> 0 and all frames at once the object's step is the least-squares
one of error reduction. Masked pixels keep what is predicted: their term of d is 0.

Letters: n frames, B of a batch, M probe modes, H rows, W columns of a window, Y rows, X columns of
the canvas. Frames are as the transform gives them: zero frequency first, not normalised.

A. Maiden, D. Johnson and P. Li, Optica 4, 736 (2017), doi:10.1364/OPTICA.4.000736; modes: P.
Thibault and A. Menzel, Nature 494, 68 (2013), doi:10.1038/nature11806.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fft import fft2, ifft2, ifftshift

from ptycho_torch.config.scan import RpieSettings
from ptycho_torch.data.scan import Array, Scan
from ptycho_torch.physics.views import fourier_shift, moved_probes, split_positions
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.streams import named_stream

# Under a modulus or a sum of intensities, which may be 0: its inverse is finite in float32.
_DARK = 1e-20


class Rpie:
    """The object and the probe as they stand, and how an iteration changes them.

    The object begins as 1 on a canvas that holds all windows; origin: position of its pixel [0, 0].
    Raises as `reconstruct`.
    """

    def __init__(self, scan: Scan, settings: RpieSettings, device: str = "cpu") -> None:
        if scan.probe_MHW is None:
            raise InputError(
                f"{scan.source}: has no probe, and rPIE needs one to start from; add 'probeGuess' "
                "to the file"
            )
        double = scan.amplitude_nHW.dtype == np.float64
        kind = torch.complex128 if double else torch.complex64
        observed: Array = scan.amplitude_nHW.astype(np.float64 if double else np.float32)
        good, probe = scan.good_1HW, scan.probe_MHW
        if good is not None:
            observed = np.where(good, observed, observed.dtype.type(0))
        if not observed.any():
            raise InputError("the frames are dark in all good pixels; nothing can be reconstructed")
        whole, fraction = split_positions(torch.from_numpy(scan.positions_n2.astype(np.float64)))
        first, side = whole.amin(dim=0), scan.patch_px
        row, column = first.tolist()
        self.origin: tuple[int, int] = (row, column)
        self.corners = (whole - first).tolist()
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
        if good is not None and not good.all():
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
        height, width = intensity.shape
        for row, column in self.corners:
            light[row : row + height, column : column + width] += intensity
        return light.numpy()

    @torch.inference_mode()
    def iterate(self, number: int) -> float:
        """Visit all frames in a new order; return the R factor as met."""
        settings, frames = self.settings, len(self.corners)
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
        row, column = self.corners[frame]
        height, width = self.probe_MHW.shape[1:]
        window_HW = self.object_YX[row : row + height, column : column + width]
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
