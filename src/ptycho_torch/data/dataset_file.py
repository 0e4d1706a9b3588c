"""A dataset split as read from a file: checked, in one type, whoever wrote it.

Letters: n groups, C patches in a group, H rows, W columns, M probe modes. docs/files.md has the
layout.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.files import io
from ptycho_torch.files.checksums import must_have
from ptycho_torch.physics.views import object_patches
from ptycho_torch.runtime.errors import InputError

logger = logging.getLogger(__name__)

Array = NDArray[Any]
_PATCH_ARRAYS = ("diffraction", "Y_I", "Y_phi")
_COORDINATES = ("coords_offsets", "coords_nominal", "coords_true")
_COMPLEX = ("YY_full", "YY_ground_truth", "probeGuess", "probe_simulated")
# Power by Parseval may differ by photon noise and by a rounded scale, not by more than this.
_POWER_TOLERANCE = 0.2


@dataclass(frozen=True, slots=True)
class Split:
    """One split of a dataset.

    arrays: as in docs/files.md, float32, complex64 and int32; norm_Y_I and intensity_scale:
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
        NPZ file of the layout in docs/files.md.
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
    arrays = _known_arrays(path)
    _check_patches(path, arrays, patch_px)
    _check_probe(path, arrays, patch_px)
    _check_objects(path, arrays, patch_px)
    _check_coordinates(path, arrays)
    _warn_of_intensities(path, arrays)
    norm = _norm(path, arrays)
    scale = _scalar(path, arrays, "intensity_scale")
    source: Literal["measured", "closed_form"] = "measured"
    if scale is None:
        source = "closed_form"
        scale = photons**0.5 / (patch_px / 2)
        logger.warning("%s: has no intensity_scale; using sqrt(photons)/(N/2) = %.6g", path, scale)
    return Split(arrays, norm, scale, source)


def _known_arrays(path: str | Path) -> dict[str, Array]:
    present = io.npz_keys(path)
    for key in ("diffraction", "probeGuess"):
        if key not in present:
            raise InputError(f"{path}: has no array '{key}'; it has: {', '.join(present)}")
    wanted = (
        *_PATCH_ARRAYS,
        *_COORDINATES,
        *_COMPLEX,
        "norm_Y_I",
        "intensity_scale",
        "image_index",
    )
    arrays = io.read_npz(path, *(key for key in wanted if key in present))
    for key, array in arrays.items():
        if array.dtype.kind not in "fiuc" or (array.dtype.kind == "c" and key not in _COMPLEX):
            raise InputError(f"{path}: array '{key}' has type {array.dtype}, expected real numbers")
        # Infinity and NaN, also those that a float64 becomes in float32.
        kind = np.complex64 if key in _COMPLEX else np.int32 if key == "image_index" else np.float32
        if key == "image_index" and not np.array_equal(array, np.rint(array)):
            raise InputError(f"{path}: array 'image_index' must hold whole numbers")
        if key not in ("norm_Y_I", "intensity_scale"):
            with np.errstate(over="ignore"):
                array = array.astype(kind, copy=False)
        bad = array.size - int(np.isfinite(array).sum())
        if bad:
            raise InputError(
                f"{path}: array '{key}' has {bad} values that are NaN or infinite (of "
                f"{array.size}), expected finite numbers; remove or mend those frames"
            )
        arrays[key] = array
    return arrays


def _check_patches(path: str | Path, arrays: dict[str, Array], patch_px: int) -> None:
    shape = arrays["diffraction"].shape
    if len(shape) != 4 or shape[0] == 0 or shape[1:3] != (patch_px, patch_px) or shape[3] == 0:
        raise InputError(
            f"{path}: array 'diffraction' has shape {shape}, expected "
            f"(n, {patch_px}, {patch_px}, C) with n, C > 0, since patch_px is {patch_px}"
        )
    for key in ("Y_I", "Y_phi"):
        if key in arrays and arrays[key].shape != shape:
            raise InputError(
                f"{path}: array '{key}' has shape {arrays[key].shape}, expected {shape} as "
                "'diffraction' has"
            )
    for key in ("diffraction", "Y_I"):
        if key in arrays and (arrays[key] < 0).any():
            raise InputError(f"{path}: array '{key}' has negative values; amplitudes are >= 0")
    if not arrays["diffraction"].any():
        raise InputError(f"{path}: array 'diffraction' is zero everywhere")


def _check_probe(path: str | Path, arrays: dict[str, Array], patch_px: int) -> None:
    shape = arrays["probeGuess"].shape
    if len(shape) not in (2, 3) or shape[-2:] != (patch_px, patch_px) or shape[0] == 0:
        raise InputError(
            f"{path}: array 'probeGuess' has shape {shape}, expected ({patch_px}, {patch_px}) or "
            f"(M, {patch_px}, {patch_px})"
        )

    if not np.abs(arrays["probeGuess"]).sum() > 0:
        raise InputError(f"{path}: array 'probeGuess' is zero everywhere: no light, no data")


def _check_objects(path: str | Path, arrays: dict[str, Array], patch_px: int) -> None:
    for key in ("YY_full", "YY_ground_truth"):
        if key not in arrays:
            continue
        shape = arrays[key].shape
        if len(shape) != 4 or shape[0] == 0 or shape[3] != 1:
            raise InputError(f"{path}: array '{key}' has shape {shape}, expected (images, h, w, 1)")
        if key == "YY_full" and min(shape[1:3]) < patch_px:
            raise InputError(
                f"{path}: array 'YY_full' has objects of {shape[1:3]} px, smaller than a patch of "
                f"{patch_px} px"
            )
        if not np.abs(arrays[key]).max() > 0:
            raise InputError(f"{path}: array '{key}' is zero everywhere")


def _check_coordinates(path: str | Path, arrays: dict[str, Array]) -> None:
    groups, *_, channels = arrays["diffraction"].shape
    for key in _COORDINATES:
        if key in arrays and arrays[key].shape != (groups, 1, 2, channels):
            raise InputError(
                f"{path}: array '{key}' has shape {arrays[key].shape}, expected "
                f"({groups}, 1, 2, {channels})"
            )
    index = arrays.get("image_index")
    if index is not None and index.shape != (groups,):
        raise InputError(
            f"{path}: array 'image_index' has shape {index.shape}, expected ({groups},)"
        )
    images = len(arrays["YY_full"]) if "YY_full" in arrays else None
    if index is not None and images is not None and not ((index >= 0) & (index < images)).all():
        raise InputError(
            f"{path}: array 'image_index' runs from {index.min()} to {index.max()}, 'YY_full' has "
            f"{images} images, counted from 0"
        )
    if index is None and images is not None:
        if groups % images:
            raise InputError(
                f"{path}: has no array 'image_index', and {groups} groups do not divide among the "
                f"{images} images of 'YY_full'"
            )
        arrays["image_index"] = np.repeat(np.arange(images, dtype=np.int32), groups // images)


def _warn_of_intensities(path: str | Path, arrays: dict[str, Array]) -> None:
    """Tell amplitudes from intensities by power (Parseval); without a truth by whole numbers."""
    data = arrays["diffraction"].astype(np.float64)
    if "Y_I" in arrays and arrays["Y_I"].any():
        power = float(np.square(arrays["Y_I"], dtype=np.float64).sum())
        squared = float(np.square(data).sum()) / power
        if abs(squared - 1) > _POWER_TOLERANCE:
            plain = float(data.sum()) / power
            verdict = "intensities" if abs(plain - 1) < _POWER_TOLERANCE else "not amplitudes"
            logger.warning(
                "%s: 'diffraction' seems to hold %s: sum of squares is %.3g of what 'Y_I' says, "
                "sum is %.3g of it; expected amplitudes, sqrt of intensity",
                path, verdict, squared, plain,
            )  # fmt: skip
    elif np.array_equal(data, np.round(data)):
        logger.warning(
            "%s: 'diffraction' holds whole numbers: photon counts? expected amplitudes, sqrt of "
            "intensity",
            path,
        )


def _norm(path: str | Path, arrays: dict[str, Array]) -> float:
    norm = _scalar(path, arrays, "norm_Y_I")
    if norm is not None:
        return norm
    norm = 1.0
    if {"YY_full", "coords_offsets", "coords_nominal", "image_index"} <= arrays.keys():
        norm = _measured_norm(path, arrays)
        logger.warning("%s: has no norm_Y_I; measured on its objects: %.6g", path, norm)
    else:
        logger.warning("%s: has no norm_Y_I and no objects to measure it on; using 1", path)
    return norm


def _measured_norm(path: str | Path, arrays: dict[str, Array]) -> float:
    """Return the mean over patches of the patch's largest object amplitude."""
    side = arrays["diffraction"].shape[1]
    modulus = np.abs(arrays["YY_full"][..., 0])
    corners = np.rint(arrays["coords_offsets"] + arrays["coords_nominal"]).astype(int)[:, 0]
    image = arrays["image_index"][:, None]
    try:
        patches = object_patches(modulus, np.moveaxis(corners, 1, -1), image, side)
    except (IndexError, ValueError):
        raise InputError(
            f"{path}: positions in 'coords_offsets' + 'coords_nominal' lie outside 'YY_full' of "
            f"{arrays['YY_full'].shape[1:3]} px"
        ) from None
    return float(patches.max(axis=(-2, -1)).mean())


def _scalar(path: str | Path, arrays: dict[str, Array], key: str) -> float | None:
    if key not in arrays:
        return None
    value = arrays[key]
    if value.size != 1 or not float(value.reshape(-1)[0]) > 0:
        raise InputError(
            f"{path}: '{key}' must be one number > 0, got shape {value.shape}: {value}"
        )
    return float(value.reshape(-1)[0])
