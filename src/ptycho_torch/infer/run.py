"""Use a trained bundle on a scan: patches, one stitched object, how well it explains the frames.

Letters: n frames, G groups, C frames of a group, P = G C patches, M probe modes, H rows, W columns
of a patch, Y rows, X columns of the object. Positions: (row, column) of a patch's corner, pixels.
"""

import logging
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ptycho_torch.config.scan import GroupSettings, InferSettings
from ptycho_torch.data.batch import groups_of_scan, scan_groups
from ptycho_torch.data.scan import Scan
from ptycho_torch.data.units import check_scale_reached, measured_units, probe_of, unit_of
from ptycho_torch.networks.bundle import Bundle
from ptycho_torch.physics.predict import illuminated, predict_amplitudes, r_factor
from ptycho_torch.physics.views import add_windows, divide, placed_waves, split_positions
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.jobs import usable_threads
from ptycho_torch.runtime.locks import choose_device
from ptycho_torch.runtime.provenance import versions

logger = logging.getLogger(__name__)

_STITCHED_AT_ONCE = 64
# Positions this near to whole pixels are whole.
_WHOLE_PX = 1e-3


@dataclass(frozen=True, slots=True)
class Stitched:
    """object_YX: complex64, 0 where it is dark; coverage_YX: summed probe intensity over its
    largest value in one frame, float32; origin_2: (row, column) of its first pixel in the
    coordinates of the positions, whole pixels."""

    object_YX: NDArray[np.complex64]
    coverage_YX: NDArray[np.float32]
    origin_2: NDArray[np.int64]

    @property
    def known_YX(self) -> NDArray[np.complex64]:
        """The object, NaN where hardly any light reached it."""
        seen = illuminated(self.coverage_YX)
        return np.where(seen, self.object_YX, np.complex64(np.nan))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """What a bundle sees in a scan, in units of the training's `norm_Y_I`.

    patches_PHW: group by group; members_GC: which frame each belongs to; unit: what the file's
    amplitudes were divided by; report: for `report.json`.
    """

    patches_PHW: NDArray[np.complex64]
    members_GC: NDArray[np.int64]
    stitched: Stitched
    unit: float
    report: dict[str, Any]


def infer_scan(
    bundle: Bundle,
    scan: Scan,
    settings: InferSettings = InferSettings(),  # noqa: B008 (frozen)
) -> Inference:
    """Use a bundle on a scan; nothing is written.

    `InputError` if frames or probe do not fit the bundle, or the scan cannot be brought to its
    units; `ScaleLost` if the frames that enter the network are not in the units requested.
    """
    torch.set_num_threads(usable_threads(settings.threads))
    trained, started = bundle.settings, time.monotonic()
    if scan.patch_px != trained.patch_px:
        raise InputError(
            f"{scan.source}: frames are {scan.patch_px} px, the bundle was trained on "
            f"{trained.patch_px} px; crop the detector (--patch-px), or use another bundle"
        )
    logger.info(
        "bundle trained on '%s': intensity scale s = %.6g, %s",
        trained.dataset, trained.intensity_scale, trained.intensity_scale_source,
    )  # fmt: skip
    probe: NDArray[np.complex64] = bundle.probe_MHW.numpy()
    own = probe if scan.probe_MHW is None else probe_of(scan)
    # Normalised probes are of the size of 1; a phase of all of one no diffraction data fix.
    if own.shape != probe.shape or not np.allclose(
        own * np.exp(1j * np.angle(np.vdot(own, probe))), probe, atol=1e-3
    ):
        logger.warning("%s: has another probe than the bundle, whose own is used", scan.source)
    unit, unit_source = _unit(bundle, scan, settings)
    logger.info("%s: amplitudes are divided by %.6g; %s", scan.source, unit, unit_source)
    given = settings.model_dump(include={"n_images", "neighbor_count"})
    grouping = GroupSettings(gridsize=trained.gridsize, **given)
    members = scan_groups(scan, np.arange(len(scan)), grouping, seed=settings.seed)
    device = choose_device(settings.accelerator)
    patches = _predict(bundle, scan, members, unit, device, settings)
    stitched = stitch(patches, scan.positions_n2[members].reshape(-1, 2), probe)
    seen, origin = scan.take(np.unique(members)), stitched.origin_2
    predicted = predict_amplitudes(stitched.object_YX, probe, seen.positions_n2, origin=origin)
    wall_s = round(time.monotonic() - started, 3)
    report = {
        "settings": settings.model_dump(mode="json"),
        "bundle": trained.model_dump(mode="json"),
        "notes": list(scan.notes),
        "frames": len(scan),
        "versions": versions(torch),
        "frames_used": len(seen),
        "groups": len(members),
        "unit": unit,
        "unit_source": unit_source,
        "r_factor": r_factor(predicted, seen.amplitude_nHW / unit, seen.good_1HW),
        "shape": list(stitched.object_YX.shape),
        "timing": {"wall_s": wall_s, "device": str(device)},
    }
    return Inference(
        patches_PHW=patches, members_GC=members, stitched=stitched, unit=unit, report=report
    )


def _unit(bundle: Bundle, scan: Scan, settings: InferSettings) -> tuple[float, str]:
    """Return what amplitudes are divided by, and where that comes from."""
    scale, source = bundle.settings.intensity_scale, bundle.settings.intensity_scale_source
    requested = settings.scale
    if requested == "auto":
        both_known = scan.intensity_scale is not None and source != "given"
        requested = "stored" if both_known else "measured"
    if requested == "stored":
        return unit_of(scan, scale), f"stored: the file's photons and the bundle's s ({source})"
    if requested == "measured":
        unit = measured_units(scan, bundle.probe_MHW.numpy(), 1.0).unit
        return unit, "measured on the file: the probe and an object of modulus 1 explain its mean"
    return scale / requested, f"given: the file's s is {requested:g}"


def _predict(
    bundle: Bundle,
    scan: Scan,
    members_GC: NDArray[np.int64],
    unit: float,
    device: torch.device,
    settings: InferSettings,
) -> NDArray[np.complex64]:
    """Return what the network makes of each group, (P, H, W), once its frames are scaled."""
    groups = groups_of_scan(scan, members_GC, unit)
    measured = np.where(scan.used, scan.amplitude_nHW, 0)[members_GC]
    entering = groups.amplitude_BCHW.numpy()
    check_scale_reached("a unit of the frames' amplitudes", unit, measured, entering)
    network, scale = bundle.network().to(device), bundle.settings.input_scale
    with torch.inference_mode():
        parts = [
            network(batch.amplitude_BCHW.to(device) * scale).cpu()
            for batch in groups.batches(settings.batch_size)
        ]
    patches: NDArray[np.complex64] = torch.cat(parts).flatten(0, 1).to(torch.complex64).numpy()
    if not np.isfinite(patches).all():
        raise InputError(
            f"{scan.source}: the network gives NaN or infinity; are its frames in other units "
            "than those it was trained on? (--scale measured)"
        )
    return patches


def stitch(
    patches_PHW: NDArray[np.complexfloating],
    positions_P2: NDArray[np.float64],
    probe_MHW: NDArray[np.complexfloating],
) -> Stitched:
    """Stitch patches, each of which shows the object from its fractional position on.

    The object is the one that explains all patches' exit waves best, each where its frame was
    taken: the mean of overlapping patches weighted by the probe's intensity (physics/views.py).
    """
    probe = torch.from_numpy(np.asarray(probe_MHW, dtype=np.complex128))
    whole, fraction = split_positions(torch.from_numpy(np.ascontiguousarray(positions_P2)))
    fractional = float(fraction.abs().max()) > _WHOLE_PX
    origin = whole.amin(dim=0)
    rows, columns = (whole.amax(dim=0) - origin + patches_PHW.shape[-1]).tolist()
    total = torch.zeros(rows, columns, dtype=torch.complex128)
    light = torch.zeros(rows, columns, dtype=torch.float64)
    for start in range(0, len(whole), _STITCHED_AT_ONCE):
        part = slice(start, start + _STITCHED_AT_ONCE)
        patches = torch.from_numpy(np.asarray(patches_PHW[part], dtype=np.complex128))
        waves, weights = placed_waves(patches, probe, fraction[part] if fractional else None)
        add_windows(total, waves, whole[part] - origin)
        add_windows(light, weights.contiguous(), whole[part] - origin)
    brightest = float(probe.abs().square().sum(dim=0).max())
    return Stitched(
        divide(total, light, probe).numpy().astype(np.complex64),
        (light / brightest).numpy().astype(np.float32),
        origin.numpy(),
    )
