"""A dataset split as read from a file: checked, in one type, whoever wrote it.

Letters: n groups, C patches in a group, H rows, W columns, M probe modes. Layout:
docs/reference/files.md.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.prepare import centred_probe, corners_of
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
_OPTIONAL = ("Y_I", "YY_full", "norm_Y_I", "intensity_scale")


@dataclass(frozen=True, slots=True)
class Split:
    """One split of a dataset.

    arrays: as in docs/reference/files.md; norm_Y_I and intensity_scale: scalars in force, measured,
    or of the photons given, where the file has none.
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
        first, inner = (self.arrays[key][:, 0] for key in _POSITIONS)
        return np.moveaxis(first + inner, -1, 1)

    @property
    def probe_MHW(self) -> NDArray[np.complex64]:
        """Probe modes."""
        probe = self.arrays["probeGuess"]
        return probe.reshape(-1, *probe.shape[-2:])

    def true_patches(self) -> NDArray[np.complex64] | None:
        """Return what each patch shows of its object, (n, C, H, W), un-normalised; None without
        objects or positions, `ValueError` if a patch reaches out of its object."""
        corners, objects = self.corners_nC2, self.arrays.get("YY_full")
        if corners is None or objects is None:
            return None
        image, side = self.arrays["image_index"][:, None], self.arrays["diffraction"].shape[1]
        return object_patches(objects[..., 0], np.rint(corners).astype(int), image, side)


def read_split(
    path: str | Path,
    *,
    patch_px: int | None,
    sha256: str | None = None,
    photons: float = 1e9,
    reading: ScanConventions = ScanConventions(),  # noqa: B008 (frozen)
) -> Split:
    """Read and check one split, an NPZ file of the layout in docs/reference/files.md.

    patch_px: side that its patches must have, pixels; sha256: checksum that the file must have;
    photons: mean photons of a frame, where the file has no intensity scale; reading: its
    conventions, of which those count that a split can have. `InputError` if the file is truncated,
    has another checksum, lacks an array, or an array has a wrong shape or type or holds NaN.
    """
    io.must_have(path, sha256)
    arrays = _read_arrays(path, patch_px)
    _apply_conventions(str(path), arrays, reading)
    norm = _norm(path, Split(arrays))
    if "intensity_scale" in arrays:
        return Split(arrays, norm, arrays["intensity_scale"].item())
    squares = np.square(arrays["diffraction"], dtype=np.float64).sum(axis=(1, 2))
    scale = float(np.sqrt(photons / squares.mean()))
    logger.warning(
        "%s: has no intensity_scale; %g photons a frame give s = %.6g", path, photons, scale
    )
    return Split(arrays, norm, scale, "given")


def _read_arrays(path: str | Path, patch_px: int | None) -> dict[str, Array]:
    """Return the arrays of the layout, each in its type and shape."""
    needed = ("diffraction", "probeGuess")
    arrays, present = io.read_npz_known(path, *_LAYOUT, needed=needed, optional=_OPTIONAL)
    pickled = [key for key in present if key in _LAYOUT and key not in arrays]
    notes = [f"'{key}' is pickled, which is never loaded: left out" for key in pickled]
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
        if (images := len(arrays["YY_full"])) == 1:
            arrays.setdefault("image_index", np.zeros(shape[0], np.int32))
        index = arrays.get("image_index")
        if index is None or not ((index >= 0) & (index < images)).all():
            raise InputError(
                f"{path}: 'image_index' must say which of the {images} images of 'YY_full' each "
                "group shows, counted from 0"
            )
    return arrays


def _apply_conventions(source: str, arrays: dict[str, Array], reading: ScanConventions) -> None:
    """Bring frames and positions of another program into those of the layout."""
    if reading.values == "intensity":
        arrays["diffraction"] = np.sqrt(arrays["diffraction"])
    if reading.zero_frequency == "corner":
        arrays["diffraction"] = np.fft.fftshift(arrays["diffraction"], axes=(1, 2))
    corners = Split(arrays).corners_nC2
    if corners is None or reading == ScanConventions():
        return
    moved = corners_of(_raw(source, arrays), reading).reshape(corners.shape).astype(np.float32)
    first = moved[:, :1]
    for key, places in zip(_POSITIONS, (first, moved - first), strict=True):
        places = np.broadcast_to(places, moved.shape)
        arrays[key] = np.ascontiguousarray(np.moveaxis(places, 1, -1)[:, None])


def read_split_image(source: str, reading: ScanConventions) -> Raw:
    """Return the frames of one image of a split, with its object in the network's units;
    `InputError` as `read_split`, or if the split has no positions or no such image."""
    arrays = _read_arrays(source, None)
    if not arrays.keys() >= {*_POSITIONS}:
        raise InputError(f"{source}: has no 'coords_offsets' and 'coords_nominal': no positions")
    image, index_n = reading.scan_index or 0, arrays.get("image_index", np.zeros(1, int))
    groups = np.broadcast_to(index_n, len(arrays["diffraction"])) == image
    images = np.unique(index_n).tolist()
    if image not in images:
        raise InputError(f"{source}: has no image {image}; its groups show images {images}")
    notes = [f"split of the study, image {image} of {images}"]
    return _raw(source, arrays, groups, image, notes=notes)


def _raw(
    source: str, arrays: dict[str, Array], groups: Any = slice(None), image: int = 0, **facts: Any
) -> Raw:
    """Return the frames of some groups, and the object of an image over norm_Y_I; without a norm
    its scale is open, on which nothing relies."""
    split, thing, scale = Split(arrays), arrays.get("YY_full"), arrays.get("intensity_scale")
    frames, corners = split.diffraction_nCHW[groups], split.corners_nC2
    assert corners is not None
    norm = np.asarray(arrays.get("norm_Y_I", 1.0)).item()
    return Raw(
        source=source,
        layout="split",
        frames_nHW=frames.reshape(-1, *frames.shape[2:]),
        positions_n2=corners[groups].reshape(-1, 2).astype(np.float64),
        probe_MHW=split.probe_MHW,
        object_YX=None if thing is None else thing[image, :, :, 0] / norm,
        intensity_scale=None if scale is None else scale.item(),
        **facts,
    )


def _checked(path: str, key: str, array: Array, sides: dict[str, int]) -> Array:
    """Return an array of the layout in its type."""
    dtype, shapes = _LAYOUT[key]
    expected = [tuple(sides.get(side, side) for side in shape.split()) for shape in shapes]
    check_array(path, key, array, "complex" if dtype is np.complex64 else "real", *expected)
    with np.errstate(over="ignore"):
        array = array.astype(dtype, copy=False)
    fault = ""
    # Infinity and NaN, also those that a float64 becomes in float32.
    if bad := array.size - int(np.isfinite(array).sum()):
        fault = f"has {bad} values that are NaN or infinite; remove or mend those frames"
    elif key in ("diffraction", "Y_I") and (array < 0).any():
        fault = "has negative values; amplitudes are >= 0"
    elif key in ("diffraction", "probeGuess", "YY_full") and not array.any():
        fault = "is zero everywhere: no light, no data"
    elif key in ("norm_Y_I", "intensity_scale") and not array.item() > 0:
        fault = f"must be one number > 0, got {array}"
    if fault:
        raise InputError(f"{path}: array '{key}' {fault}")
    return array


def _norm(path: str | Path, split: Split) -> float:
    """Return norm_Y_I, where the file has none the mean over patches of the patch's largest object
    amplitude; 1 without objects."""
    if "norm_Y_I" in split.arrays:
        return float(split.arrays["norm_Y_I"].item())
    try:
        patches = split.true_patches()
    except ValueError as error:
        raise InputError(f"{path}: 'coords_offsets' + 'coords_nominal': {error}") from None
    norm = 1.0 if patches is None else float(np.abs(patches).max(axis=(-2, -1)).mean())
    logger.warning("%s: has no norm_Y_I; measured on its objects, if it has any: %.6g", path, norm)
    return norm
