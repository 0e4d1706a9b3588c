"""A dataset split as read from a file: checked, in one type, whoever wrote it.

Letters: n groups, C patches in a group, H rows, W columns, M probe modes. Layout:
docs/reference/files.md.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.light import centred_probe
from ptycho_torch.data.prepare import corners_of
from ptycho_torch.data.scan import Array, Raw, check_array, probe_modes
from ptycho_torch.files import io
from ptycho_torch.physics.stitch import object_patches
from ptycho_torch.runtime.errors import InputError

logger = logging.getLogger(__name__)

_POSITIONS = ("coords_offsets", "coords_nominal")
_LAYOUT: dict[str, tuple[type, tuple[str, ...]]] = {
    "diffraction": (np.float32, ("n N N C",)),
    "Y_I": (np.float32, ("n N N C",)),
    **dict.fromkeys(_POSITIONS, (np.float32, ("n 1 2 C",))),
    "YY_full": (np.complex64, ("images height width 1", "height width 1")),
    "probeGuess": (np.complex64, ("N N", "M N N")),
    **dict.fromkeys(("norm_Y_I", "intensity_scale"), (np.float64, ("", "1"))),
    "image_index": (np.int32, ("n",)),
}
"""Type and shapes of the arrays that something reads; n and C are those of `diffraction`."""
_NEEDED = ("diffraction", "probeGuess", *_POSITIONS, "image_index")


@dataclass(frozen=True, slots=True)
class Split:
    """One split of a dataset.

    arrays: as in docs/reference/files.md (float32, complex64, int32); norm_Y_I and intensity_scale:
    scalars in force, measured, or of the photons given, where the file has none;
    intensity_scale_source says which of them s is.
    """

    arrays: dict[str, Array]
    norm_Y_I: float = 1.0
    intensity_scale: float = 1.0
    intensity_scale_source: Literal["measured", "given"] = "measured"

    @property
    def diffraction_nCHW(self) -> NDArray[np.float32]:
        """Measured amplitude."""
        return np.ascontiguousarray(np.moveaxis(self.arrays["diffraction"], -1, 1))

    @property
    def corners_nC2(self) -> NDArray[np.float32] | None:
        """Corners of the patches in their image, pixels; None where there are no positions."""
        if not self.arrays.keys() >= {*_POSITIONS}:
            return None
        corners = (self.arrays["coords_offsets"] + self.arrays["coords_nominal"])[:, 0]
        return np.moveaxis(corners, -1, 1)

    @property
    def probe_MHW(self) -> NDArray[np.complex64]:
        """Probe modes."""
        probe = self.arrays["probeGuess"]
        return probe.reshape(-1, *probe.shape[-2:])


def read_split(
    path: str | Path,
    *,
    patch_px: int | None,
    sha256: str | None = None,
    photons: float = 1e9,
    reading: ScanConventions = ScanConventions(),  # noqa: B008 (frozen)
) -> Split:
    """Read and check one split, an NPZ file of the layout in docs/reference/files.md.

    patch_px: side that its patches must have, pixels; None: any; sha256: checksum that the file
    must have; None: any; photons: mean photons of a frame, where the file has no intensity scale;
    reading: its conventions, of which those count that a split can have. `InputError` if the file
    is truncated, has another checksum, lacks an array, or an array has a wrong shape or type or
    holds NaN; names the file and the array.
    """
    io.must_have(path, sha256)
    arrays = _read_arrays(path, patch_px)
    _apply_conventions(str(path), arrays, reading)
    norm = arrays["norm_Y_I"].item() if "norm_Y_I" in arrays else _measured_norm(path, arrays)
    if "intensity_scale" in arrays:
        return Split(arrays, norm, float(arrays["intensity_scale"].item()))
    squares = np.square(arrays["diffraction"], dtype=np.float64).sum(axis=(1, 2))
    scale = float(np.sqrt(photons / squares.mean()))
    logger.warning(
        "%s: has no intensity_scale; %g photons a frame give s = %.6g", path, photons, scale
    )
    return Split(arrays, norm, scale, "given")


def _read_arrays(path: str | Path, patch_px: int | None) -> dict[str, Array]:
    """Return the arrays of the layout, each in its type and shape."""
    needed, optional = ("diffraction", "probeGuess"), _LAYOUT.keys() - _NEEDED
    arrays, present = io.read_npz_known(path, *_LAYOUT, needed=needed, optional=optional)
    for key in (key for key in present if key in _LAYOUT and key not in arrays):
        logger.warning("%s: '%s' is pickled, which is never loaded: left out", path, key)
    notes: list[str] = []
    probe = probe_modes(str(path), "probeGuess", arrays["probeGuess"])
    assert probe is not None
    arrays["probeGuess"] = centred_probe(probe, notes).reshape(arrays["probeGuess"].shape[-3:])
    for note in notes:
        logger.warning("%s: %s", path, note)
    shape = arrays["diffraction"].shape
    side = patch_px or (shape[1] if len(shape) == 4 else 0)
    sides = {"N": side, "1": 1, "2": 2}
    for key, array in arrays.items():
        arrays[key] = _checked(str(path), key, array, sides)
        sides |= {"n": shape[0], "C": shape[-1]}  # Known once `diffraction` is, the first of them.
    if "YY_full" in arrays:
        arrays["YY_full"] = arrays["YY_full"].reshape(-1, *arrays["YY_full"].shape[-3:])
        # Which group shows which object; without an index there must be one object.
        images, index = len(arrays["YY_full"]), arrays.get("image_index")
        if index is None and images == 1:
            index = arrays["image_index"] = np.zeros(shape[0], np.int32)
        if index is None or not ((index >= 0) & (index < images)).all():
            came = "is missing" if index is None else f"runs from {index.min()} to {index.max()}"
            raise InputError(
                f"{path}: array 'image_index' {came}, 'YY_full' has {images} images, counted from 0"
            )
    return arrays


def _apply_conventions(source: str, arrays: dict[str, Array], reading: ScanConventions) -> None:
    """Bring frames and positions of another program into those of the layout."""
    if reading.values == "intensity":
        arrays["diffraction"] = np.sqrt(arrays["diffraction"])
    if reading.zero_frequency == "corner":
        arrays["diffraction"] = np.fft.fftshift(arrays["diffraction"], axes=(1, 2))
    corners, thing = Split(arrays).corners_nC2, arrays.get("YY_full")
    if corners is None or reading == ScanConventions():
        return
    raw = Raw(
        source=source,
        layout="split",
        frames_nHW=arrays["diffraction"][..., 0],  # Of which the side counts.
        positions_n2=corners.reshape(-1, 2).astype(np.float64),
        object_YX=None if thing is None else thing[0, :, :, 0],
    )
    moved = corners_of(raw, reading).reshape(corners.shape).astype(np.float32)
    first = moved[:, :1]
    for key, places in (("coords_offsets", first), ("coords_nominal", moved - first)):
        places = np.broadcast_to(places, moved.shape)
        arrays[key] = np.ascontiguousarray(np.moveaxis(places, 1, -1)[:, None])


def read_split_image(source: str, reading: ScanConventions) -> Raw:
    """Return the frames of one image of a split, with its object in the network's units;
    `InputError` as `read_split`, or if the split has no positions or no such image."""
    arrays = _read_arrays(source, None)
    split, image, scale = Split(arrays), reading.scan_index or 0, arrays.get("intensity_scale")
    frames, corners = split.diffraction_nCHW, split.corners_nC2
    if corners is None:
        raise InputError(f"{source}: has no 'coords_offsets' and 'coords_nominal': no positions")
    images = arrays.get("image_index", np.zeros(len(frames), int))
    count = int(images.max()) + 1
    if image >= count:
        raise InputError(f"{source}: has no image {image}; it has {count}, counted from 0")
    mine, thing = images == image, arrays.get("YY_full")
    notes = [f"split of the study, image {image} of {count}"]
    if thing is not None:
        # Without a norm only the object's scale is open, on which nothing here relies.
        norm = float(arrays.get("norm_Y_I", np.ones(())).item())
        thing = thing[image, :, :, 0] / norm
        notes.append(f"object divided by norm_Y_I {norm:.6g}")
    return Raw(
        source=source,
        layout="split",
        frames_nHW=frames[mine].reshape(-1, *frames.shape[2:]),
        positions_n2=corners[mine].reshape(-1, 2).astype(np.float64),
        probe_MHW=split.probe_MHW,
        object_YX=thing,
        intensity_scale=None if scale is None else float(scale.item()),
        notes=notes,
    )


def _checked(path: str, key: str, array: Array, sides: dict[str, int]) -> Array:
    """Return an array of the layout in its type; scalars keep theirs."""
    dtype, shapes = _LAYOUT[key]
    stored, kind = array, "complex" if dtype is np.complex64 else "real"
    expected = [tuple(sides.get(side, side) for side in shape.split()) for shape in shapes]
    check_array(path, key, array, kind, *expected)
    if dtype is not np.float64:
        with np.errstate(over="ignore"):
            array = array.astype(dtype, copy=False)
    # Infinity and NaN, also those that a float64 becomes in float32.
    if bad := array.size - int(np.isfinite(array).sum()):
        raise InputError(
            f"{path}: array '{key}' has {bad} values that are NaN or infinite (of "
            f"{array.size}), expected finite numbers; remove or mend those frames"
        )
    if key in ("diffraction", "Y_I") and (stored < 0).any():
        raise InputError(f"{path}: array '{key}' has negative values; amplitudes are >= 0")
    if key in ("diffraction", "probeGuess", "YY_full") and not stored.any():
        raise InputError(f"{path}: array '{key}' is zero everywhere: no light, no data")
    if key in ("norm_Y_I", "intensity_scale") and not array.item() > 0:
        raise InputError(f"{path}: '{key}' must be one number > 0, got {array}")
    return array


def _measured_norm(path: str | Path, arrays: dict[str, Array]) -> float:
    """Return the mean over patches of the patch's largest object amplitude; 1 without objects."""
    corners = Split(arrays).corners_nC2
    if corners is None or "YY_full" not in arrays:
        logger.warning("%s: has no norm_Y_I and no objects to measure it on; using 1", path)
        return 1.0
    objects, image = np.abs(arrays["YY_full"][..., 0]), arrays["image_index"][:, None]
    try:
        side = arrays["diffraction"].shape[1]
        patches = object_patches(objects, np.rint(corners).astype(int), image, side)
    except ValueError as error:
        raise InputError(f"{path}: 'coords_offsets' + 'coords_nominal': {error}") from None
    norm = float(patches.max(axis=(-2, -1)).mean())
    logger.warning("%s: has no norm_Y_I; measured on its objects: %.6g", path, norm)
    return norm
