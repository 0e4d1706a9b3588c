"""Compare two reconstructed objects, anyone's: laid on one another, then scored.

Letters: Y rows, X columns of an object; H rows, W columns of what both show.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.data.scan import complex_array
from ptycho_torch.evaluate.real_data import largest_rectangle, similarity
from ptycho_torch.evaluate.scores import MARGIN_PX, complex_error, register, resolution
from ptycho_torch.files import io
from ptycho_torch.files.hdf5 import open_hdf5
from ptycho_torch.physics.predict import illuminated
from ptycho_torch.physics.stitch import common_windows
from ptycho_torch.runtime.errors import InputError

Complex = NDArray[np.complexfloating]

LEAST_PX = 24
"""Sides of the common field under this are too small to compare anything in."""
# The names that programs give an object, ours first.
_NAMES = ["object", "stitched", "obj", "psi", "O", "/entry_1/image_1/data"]
# Pixels with less of the most light are not looked at, where a file says how much fell on each.
_LIT = 0.1


def read_object(path: io.PathLike) -> tuple[Complex, NDArray[np.bool_]]:
    """Return an object, (Y, X), and which of its pixels are known, of NPY, NPZ or HDF5.

    An array of another name is given behind the file: `file.h5:/entry/object`. An NPZ of ours says
    by `light` where it was illuminated; NaN is not known. `InputError` if there is none.
    """
    file, _, name = str(path).partition(":/")
    wanted = [name] if name else _NAMES
    if Path(file).suffix == ".npy":
        try:
            found, there = {"object": np.load(file, allow_pickle=False)}, ["one array"]
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{file}: is no whole NPY file ({error})") from None
    elif io.is_hdf5(file):
        with open_hdf5(file) as opened:
            first_there = [key for key in wanted if opened.has(key)][:1]
            found = {key: opened.array(key) for key in first_there}
            there = [*opened.unread()]
    else:
        found, there = io.read_npz_known(file, *wanted, "light")
    array, light = next((found[key] for key in wanted if key in found), None), found.get("light")
    array = complex_array(file, name or "object", array, ("Y", "X"))
    if array is None:
        raise InputError(
            f"{file}: has no object ({', '.join(wanted)}); it has: {', '.join(there)}; give "
            "its name behind the file, FILE:/NAME"
        )
    known = np.isfinite(array)
    if light is not None and light.shape == array.shape:
        known &= illuminated(light, _LIT)
    return np.where(known, array, 0), known


def compare_objects(
    first: io.PathLike, second: io.PathLike
) -> tuple[dict[str, Any], tuple[Complex, Complex]]:
    """Return how two objects agree, and both, (H, W) each, where both are known and registered.

    The second is moved, tilted in phase and multiplied by a complex factor, as far as that brings
    it nearer: what no diffraction data fix where the probe is refined. `InputError` if a file holds
    no object, or they have less than `LEAST_PX` in common.
    """
    (one, known), (other, seen) = read_object(first), read_object(second)
    offset = _offset(one, other)
    here, there = common_windows(one.shape, other.shape, offset)
    box = largest_rectangle(known[here] & seen[there])
    first_HW, second_HW = one[here][box], other[there][box]
    height, width = first_HW.shape
    if min(height, width) - 2 * MARGIN_PX < LEAST_PX:
        raise InputError(
            f"{first} and {second} have {height} x {width} px in common, expected "
            f"{LEAST_PX + 2 * MARGIN_PX} or more a side; are they of one object and one pixel size?"
        )
    reference = first_HW[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
    image, moved = register(reference, second_HW, free="all")
    curves, crossings = resolution(reference, image)
    return {
        **similarity(reference, image),
        "complex_error": complex_error(reference, image),
        "frc_period_px": {name: 1 / frequency for name, frequency in crossings.items()},
        "frc_again": _again(curves, crossings),
        "frc": {name: curve.tolist() for name, curve in curves.items()},
        "a": str(first),
        "b": str(second),
        "field_px": list(reference.shape),
        "shift_px": (offset + moved).tolist(),
    }, (reference, image)


def _again(curves: dict[str, Any], crossings: dict[str, float]) -> dict[str, dict[str, Any]]:
    """Return in how many rings the ring correlation is above each threshold again after it first
    fell under it, and the period of the last of them: a first crossing may be a narrow dip."""
    found, rings = {}, curves["cycles_per_px"]
    levels = {"half_bit": curves["half_bit"], "half": 1 / 2, "seventh": 1 / 7}
    for name, level in levels.items():
        above = rings[(curves["correlation"] >= level) & (rings > crossings[name])]
        found[name] = {"rings": above.size, "period_px": 1 / above[-1] if above.size else None}
    return found


def _offset(first_YX: Complex, second_YX: Complex) -> NDArray[np.int64]:
    """Return where the second object's first pixel lies on the first object, to a pixel.

    Found by the correlation of logarithmic gradients less their medians, which neither a complex
    factor nor a phase ramp changes.
    """
    shape = [a + b for a, b in zip(first_YX.shape, second_YX.shape, strict=True)]
    total = np.zeros(shape)
    for axis in (0, 1):
        spectra = [np.fft.fft2(_gradient(image, axis), shape) for image in (first_YX, second_YX)]
        total += np.fft.ifft2(spectra[0] * spectra[1].conj()).real
    peak = np.array(np.unravel_index(total.argmax(), total.shape))
    return np.where(peak < first_YX.shape, peak, peak - shape)


def _gradient(image_YX: Complex, axis: int) -> Complex:
    """Return the gradient of an object's logarithm along an axis, without its median."""
    after, before = np.roll(image_YX, -1, axis), image_YX
    both = (np.abs(after) > 0) & (np.abs(before) > 0)
    ratio = np.where(both, after, 1) / np.where(both, before, 1)
    found = np.log(ratio.astype(np.complex128))
    middle = np.median(found.real[both]) + 1j * np.median(found.imag[both])
    found = np.where(both, found - middle, 0)
    # Dark pixels have gradients without bound, and say nothing.
    return np.asarray(found / np.maximum(np.abs(found), 0.5))
