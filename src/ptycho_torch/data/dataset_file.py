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

from ptycho_torch.data.scan import Raw, check_array
from ptycho_torch.files import io
from ptycho_torch.files.checksums import must_have
from ptycho_torch.physics.stitch import object_patches
from ptycho_torch.runtime.errors import InputError

logger = logging.getLogger(__name__)

Array = NDArray[Any]
_COORDINATES = ("coords_offsets", "coords_nominal", "coords_true")
_COMPLEX = ("YY_full", "YY_ground_truth", "probeGuess", "probe_simulated")
_SCALARS = ("norm_Y_I", "intensity_scale")
# Power by Parseval may differ by photon noise and by a rounded scale, not by more than this.
_POWER_TOLERANCE = 0.2


@dataclass(frozen=True, slots=True)
class Split:
    """One split of a dataset.

    arrays: as in docs/reference/files.md (float32, complex64, int32); norm_Y_I and intensity_scale:
    scalars in force, measured or closed form where the file has none; intensity_scale_source says
    which of them s is.
    """

    arrays: dict[str, Array]
    norm_Y_I: float
    intensity_scale: float
    intensity_scale_source: Literal["measured", "closed_form"] = "measured"

    @property
    def diffraction_nCHW(self) -> NDArray[np.float32]:
        """Measured amplitude."""
        return np.ascontiguousarray(np.moveaxis(self.arrays["diffraction"], -1, 1))

    @property
    def probe_MHW(self) -> NDArray[np.complex64]:
        """Probe modes."""
        probe = self.arrays["probeGuess"]
        return probe.reshape(-1, *probe.shape[-2:])


def read_split(
    path: str | Path, *, patch_px: int, sha256: str | None = None, photons: float = 1e9
) -> Split:
    """Read and check one split.

    Parameters
    ----------
    path
        NPZ file of the layout in docs/reference/files.md.
    patch_px
        Side that its patches must have, pixels.
    sha256
        Checksum that the file must have; None: any.
    photons
        For the closed form of a missing intensity scale.

    Raises
    ------
    InputError
        If the file is truncated, has another checksum, lacks an array, or an array has a wrong
        shape or type or holds NaN; names the file and the array.
    """
    must_have(path, sha256)
    arrays = _known_arrays(path, patch_px)
    _check_images(path, arrays, patch_px)
    _warn_of_intensities(path, arrays)
    for key in _SCALARS:
        if key in arrays and not arrays[key].item() > 0:
            raise InputError(f"{path}: '{key}' must be one number > 0, got {arrays[key]}")
    norm = arrays["norm_Y_I"].item() if "norm_Y_I" in arrays else _measured_norm(path, arrays)
    if "intensity_scale" in arrays:
        return Split(arrays, norm, float(arrays["intensity_scale"].item()))
    scale = photons**0.5 / (patch_px / 2)
    logger.warning("%s: has no intensity_scale; using sqrt(photons)/(N/2) = %.6g", path, scale)
    return Split(arrays, norm, scale, "closed_form")


def read_split_image(source: str, image: int) -> Raw:
    """Return the frames of one image of a split, with its object in the network's units.

    Raises
    ------
    InputError
        As `read_split`, or if the split has no positions or no such image.
    """
    shape = io.read_npz(source, "diffraction")["diffraction"].shape
    side = int(shape[1]) if len(shape) == 4 else 0
    split = read_split(source, patch_px=side)
    arrays = split.arrays
    if not {"coords_offsets", "coords_nominal"} <= arrays.keys():
        raise InputError(f"{source}: has no 'coords_offsets' and 'coords_nominal': no positions")
    images = arrays.get("image_index", np.zeros(shape[0], int))
    count = int(images.max()) + 1
    if image >= count:
        raise InputError(f"{source}: has no image {image}; it has {count}, counted from 0")
    mine = images == image
    corners = (arrays["coords_offsets"] + arrays["coords_nominal"])[mine][:, 0]
    return Raw(
        source=source,
        layout="split",
        frames_nHW=split.diffraction_nCHW[mine].reshape(-1, side, side),
        positions_n2=np.moveaxis(corners, -1, 1).reshape(-1, 2).astype(np.float64),
        probe_MHW=split.probe_MHW,
        object_YX=arrays["YY_full"][image, :, :, 0] / split.norm_Y_I
        if "YY_full" in arrays
        else None,
        intensity_scale=split.intensity_scale,
        notes=(
            f"split of the study, image {image} of {count}",
            f"object divided by norm_Y_I {split.norm_Y_I:.6g}",
        ),
    )


def _known_arrays(path: str | Path, patch_px: int) -> dict[str, Array]:
    """Return the arrays of the layout, checked, and all but the scalars in their types."""
    known = ("diffraction", "Y_I", "Y_phi", *_COORDINATES, *_COMPLEX, *_SCALARS, "image_index")
    arrays, present = io.read_npz_known(path, *known)
    for key in ("diffraction", "probeGuess"):
        if key not in arrays:
            raise InputError(f"{path}: has no array '{key}'; it has: {', '.join(present)}")
    for key, allowed in _shapes(arrays["diffraction"].shape, patch_px).items():
        if key in arrays:
            kind = "complex" if key in _COMPLEX else "real"
            check_array(str(path), key, arrays[key], kind, *allowed)
    for key, array in arrays.items():
        if key == "image_index" and not np.array_equal(array, np.rint(array)):
            raise InputError(f"{path}: array 'image_index' must hold whole numbers")
        dtype: type = (
            np.complex64 if key in _COMPLEX else np.int32 if key == "image_index" else np.float32
        )
        if key not in _SCALARS:
            with np.errstate(over="ignore"):
                arrays[key] = array.astype(dtype, copy=False)
        # Infinity and NaN, also those that a float64 becomes in float32.
        bad = array.size - int(np.isfinite(arrays[key]).sum())
        if bad:
            raise InputError(
                f"{path}: array '{key}' has {bad} values that are NaN or infinite (of "
                f"{array.size}), expected finite numbers; remove or mend those frames"
            )
        if key in ("diffraction", "Y_I") and (array < 0).any():
            raise InputError(f"{path}: array '{key}' has negative values; amplitudes are >= 0")
        if key in ("diffraction", "probeGuess", "YY_full", "YY_ground_truth") and not array.any():
            raise InputError(f"{path}: array '{key}' is zero everywhere: no light, no data")
    return arrays


def _shapes(diffraction: tuple[int, ...], patch_px: int) -> dict[str, list[tuple[str | int, ...]]]:
    """Return the shapes that arrays may have beside a `diffraction` of this one."""
    groups, channels = (diffraction[0], diffraction[3]) if len(diffraction) == 4 else (0, 0)
    return {
        "diffraction": [("n", patch_px, patch_px, "C")],
        "probeGuess": [(patch_px, patch_px), ("M", patch_px, patch_px)],
        "image_index": [(groups,)],
        **{key: [(groups, patch_px, patch_px, channels)] for key in ("Y_I", "Y_phi")},
        **{key: [(groups, 1, 2, channels)] for key in _COORDINATES},
        **{key: [("images", "height", "width", 1)] for key in ("YY_full", "YY_ground_truth")},
        **{key: [(), (1,)] for key in _SCALARS},
    }


def _check_images(path: str | Path, arrays: dict[str, Array], patch_px: int) -> None:
    """Check which group shows which object; without an index each object has as many groups."""
    if "YY_full" not in arrays:
        return
    groups, images = len(arrays["diffraction"]), len(arrays["YY_full"])
    if min(arrays["YY_full"].shape[1:3]) < patch_px:
        raise InputError(f"{path}: array 'YY_full' has objects smaller than a patch, {patch_px} px")
    index = arrays.get("image_index")
    if index is None:
        if groups % images:
            raise InputError(
                f"{path}: has no array 'image_index', and {groups} groups do not divide among the "
                f"{images} images of 'YY_full'"
            )
        arrays["image_index"] = np.repeat(np.arange(images, dtype=np.int32), groups // images)
    elif not ((index >= 0) & (index < images)).all():
        raise InputError(
            f"{path}: array 'image_index' runs from {index.min()} to {index.max()}, 'YY_full' has "
            f"{images} images, counted from 0"
        )


def _warn_of_intensities(path: str | Path, arrays: dict[str, Array]) -> None:
    """Tell amplitudes from intensities by power (Parseval); without a truth by whole numbers."""
    data = arrays["diffraction"].astype(np.float64)
    if "Y_I" in arrays and arrays["Y_I"].any():
        truth = float(np.square(arrays["Y_I"], dtype=np.float64).sum())
        unlike = abs(float(np.square(data).sum()) / truth - 1) > _POWER_TOLERANCE
    else:
        unlike = np.array_equal(data, np.round(data))
    if unlike:
        logger.warning(
            "%s: 'diffraction' seems to hold intensities or photon counts; expected amplitudes, "
            "sqrt of intensity",
            path,
        )


def _measured_norm(path: str | Path, arrays: dict[str, Array]) -> float:
    """Return the mean over patches of the patch's largest object amplitude; 1 without objects."""
    if not {"YY_full", "coords_offsets", "coords_nominal", "image_index"} <= arrays.keys():
        logger.warning("%s: has no norm_Y_I and no objects to measure it on; using 1", path)
        return 1.0
    corners = np.rint(arrays["coords_offsets"] + arrays["coords_nominal"]).astype(int)[:, 0]
    objects, side = np.abs(arrays["YY_full"][..., 0]), arrays["diffraction"].shape[1]
    try:
        patches = object_patches(
            objects, np.moveaxis(corners, 1, 2), arrays["image_index"][:, None], side
        )
    except ValueError as error:
        raise InputError(f"{path}: 'coords_offsets' + 'coords_nominal': {error}") from None
    norm = float(patches.max(axis=(-2, -1)).mean())
    logger.warning("%s: has no norm_Y_I; measured on its objects: %.6g", path, norm)
    return norm
