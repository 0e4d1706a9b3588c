"""What an object predicts for frames, how far that is from what was measured, where it is known.

Letters: n frames, M probe modes, H rows, W columns of a frame (H = W), Y rows, X columns of an
object. Positions are the (row, column) of a frame's upper left corner, pixels, fractional.
"""

import numpy as np
from numpy.typing import ArrayLike

from ptycho_torch.physics.stitch import Array

# Pixels of all modes in a batch of predictions: 256 frames of one mode of 64 px.
_BATCH_PX = 256 * 64 * 64


def predict_amplitudes(
    object_YX: Array, probe_MHW: Array, positions_n2: Array, *, origin: ArrayLike = (0, 0)
) -> Array:
    """Return the amplitudes that an object gives for frames at positions, (n, H, W).

    Computed in single precision, in the units of probe and object; modes add in intensity. origin:
    position of the object's pixel [0, 0], whole pixels. `ValueError` if a window reaches out of it.
    """
    import torch  # Slow to import, and whoever only compares or stitches needs none of it.

    from ptycho_torch.physics.forward import amplitudes
    from ptycho_torch.physics.views import cut_windows, moved_probes, split_positions

    whole_n2, fraction_n2 = split_positions(torch.from_numpy(np.array(positions_n2, np.float64)))
    whole_n2 -= torch.from_numpy(np.array(origin, np.int64))
    thing = torch.from_numpy(np.ascontiguousarray(object_YX, np.complex64))
    probe = torch.from_numpy(np.ascontiguousarray(probe_MHW, np.complex64))
    fractional = bool((fraction_n2 != 0).any())
    frames = np.empty((len(whole_n2), *probe.shape[1:]), np.float32)
    step = max(1, _BATCH_PX // probe.numel())
    with torch.inference_mode():
        for first in range(0, len(frames), step):
            part = slice(first, first + step)
            windows = cut_windows(thing, whole_n2[part], probe.shape[-1])[:, None]
            here = moved_probes(probe, fraction_n2[part])[:, None] if fractional else probe
            frames[part] = amplitudes(windows, here)[:, 0].numpy()
    return frames


def constant_loss(amplitude_nHW: Array, probe_MHW: Array) -> float:
    """Return the least relative MAE of a constant object: what is had without learning anything.

    sum |c A_0 - A| / sum A at the best c, A_0 the amplitude of an object of modulus 1.
    """
    from scipy.optimize import minimize_scalar

    constant_YX = np.ones(probe_MHW.shape[-2:])
    empty_HW = predict_amplitudes(constant_YX, probe_MHW, np.zeros((1, 2)))[0].astype(np.float64)
    total = float(amplitude_nHW.sum(dtype=np.float64))

    def loss(factor: float) -> float:
        return (
            sum(float(np.abs(factor * empty_HW - frame).sum()) for frame in amplitude_nHW) / total
        )

    # Convex; twice the factor of equal sums is beyond the best one.
    most = 2 * total / (len(amplitude_nHW) * float(empty_HW.sum()))
    return float(minimize_scalar(loss, bounds=(0, most), method="bounded").fun)


def r_factor(predicted_nHW: Array, observed_nHW: Array, good_nHW: Array | None = None) -> float:
    """Return the R factor of frames, sum |A_pred - A_obs| / sum A_obs; 0 is perfect, predicting
    nothing gives 1, and NaN means that nothing was observed.

    Only pixels that `good_nHW`, (n, H, W) or (1, H, W), calls measured take part; None: all.
    One predicted frame, (1, H, W), stands for all.
    """
    good = np.ones((1, 1, 1), bool) if good_nHW is None else good_nHW
    parts = np.where(good, np.abs(predicted_nHW - observed_nHW), 0), np.where(good, observed_nHW, 0)
    by_frame = np.stack([part.sum(axis=(1, 2), dtype=np.float64) for part in parts], axis=1)
    missed, total = by_frame.sum(axis=0).tolist()
    return missed / total if total > 0 else float("nan")


def illuminated(light_YX: Array, share: float = 0.01) -> Array:
    """Return where an object is known: at least `share` of the most light fell there; light is the
    probe's intensity summed over the frames, in any unit."""
    return np.asarray(light_YX >= share * light_YX.max())
