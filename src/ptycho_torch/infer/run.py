"""Use a trained bundle on a scan: patches, one stitched object, how well it explains the frames.

Letters: n frames, G groups, C frames of a group, M probe modes, H rows, W columns; Y rows and X
columns of the object.
"""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from ptycho_torch.config.base import mistake
from ptycho_torch.config.scan import GroupSettings, InferSettings, ScanConventions
from ptycho_torch.data.batch import Groups, groups_of_scan
from ptycho_torch.data.groups import scan_groups
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.scales import check_scale_reached
from ptycho_torch.data.scan import Scan
from ptycho_torch.files import io
from ptycho_torch.files.output_folder import claim, must_be_free
from ptycho_torch.infer.fitting import probe_in_use, unit_in_use
from ptycho_torch.infer.parity.files import DUMP_FILES
from ptycho_torch.infer.pictures import draw_object
from ptycho_torch.infer.stitch import Stitched, stitch
from ptycho_torch.networks.bundle import Bundle, read_bundle
from ptycho_torch.physics.predict import predict_amplitudes, r_factor
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.gpus import choose_device
from ptycho_torch.runtime.jobs import usable_threads
from ptycho_torch.runtime.memory import mitigated_by
from ptycho_torch.runtime.provenance import versions

logger = logging.getLogger(__name__)

OUTPUTS = (
    *("report.json", "object.npz"),
    *("amplitude.png", "amplitude.svg", "phase.png", "phase.svg"),
)

STATISTICS = ("patch_stats.json", "patches.png")
"""Written beside them where they are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """What a bundle sees in a scan."""

    patches_GCHW: NDArray[np.complex64]
    """Object patches, in units of the training's `norm_Y_I`."""

    members_GC: NDArray[np.int64]
    """Which frame each patch belongs to."""

    stitched: Stitched
    """The object, in the same units."""

    probe_MHW: NDArray[np.complex64]
    """The probe in use, normalised."""

    unit: float
    """What the file's amplitudes were divided by."""

    report: dict[str, Any]
    """What `report.json` says."""


def infer_file(
    model: io.PathLike,
    test_data: io.PathLike,
    output_dir: io.PathLike,
    *,
    settings: InferSettings = InferSettings(),  # noqa: B008 (frozen)
    reading: ScanConventions = ScanConventions(),  # noqa: B008 (frozen)
    overwrite: bool = False,
    debug_dump: io.PathLike | None = None,
    patch_stats_limit: int | None = None,
) -> Inference:
    """Use the bundle in folder `model` on a file and write `OUTPUTS` into a folder.

    Parameters
    ----------
    debug_dump
        Folder for a dump (docs/parity.md); None: no dump.
    patch_stats_limit
        Statistics of at most so many patches go beside the results; None: none are worked out.

    Raises
    ------
    InputError
        If bundle, file and settings do not fit each other, or the folder holds files.
    """
    # Before the work: what cannot be written, or would be written over.
    must_be_free(output_dir, mark=OUTPUTS[0], files=OUTPUTS, overwrite=overwrite)
    if debug_dump is not None:
        must_be_free(debug_dump, mark=DUMP_FILES[0], files=DUMP_FILES, overwrite=overwrite)
    bundle = read_bundle(model)
    scan = read_scan(test_data, reading)
    sources = {
        "model": {"weights_sha256": io.sha256(Path(model) / "weights.safetensors")},
        "test_data": {"file": Path(test_data).name, "sha256": io.sha256(test_data)},
        "reading": reading.model_dump(mode="json"),
    }
    found = infer_scan(bundle, scan, settings)
    write_inference(output_dir, found, scan, sources=sources, overwrite=overwrite)
    if debug_dump is not None or patch_stats_limit is not None:
        from ptycho_torch.infer.dump import write_extras

        write_extras(
            bundle, scan, found, Path(output_dir), debug_dump=debug_dump, limit=patch_stats_limit
        )
    return found


def infer_scan(
    bundle: Bundle,
    scan: Scan,
    settings: InferSettings = InferSettings(),  # noqa: B008 (frozen)
) -> Inference:
    """Use a bundle on a scan; nothing is written.

    Raises
    ------
    InputError
        If frames or probe do not fit the bundle, or the scan cannot be brought to its units.
    """
    torch.set_num_threads(usable_threads(settings.threads))
    known, started = bundle.settings, time.monotonic()
    if scan.patch_px != known.patch_px:
        raise InputError(
            f"{scan.source}: frames are {scan.patch_px} px, the bundle was trained on "
            f"{known.patch_px} px; crop or bin the detector (--patch-px), or use another bundle"
        )
    logger.info(
        "bundle trained on '%s': intensity scale s = %.6g, %s",
        known.dataset, known.intensity_scale, known.intensity_scale_source,
    )  # fmt: skip
    probe = probe_in_use(bundle, scan, settings)
    unit, unit_source = unit_in_use(bundle, scan, settings, probe)
    grouping = _grouping(known.gridsize, settings)
    members = scan_groups(scan, np.arange(len(scan)), grouping, seed=settings.seed)
    device = choose_device(settings.accelerator)
    patches = _predict(bundle, scan, members, unit, device, settings)
    network_s = time.monotonic() - started
    places = scan.positions_n2[members].reshape(-1, 2)
    whole = stitch(patches.reshape(-1, *patches.shape[-2:]), places, probe)
    used = np.unique(members)
    row, column = whole.origin_2.tolist()
    predicted = predict_amplitudes(
        whole.object_YX, probe, scan.positions_n2[used], origin=(row, column)
    )
    report = {
        **_facts(bundle, scan, settings),
        "frames_used": len(used),
        "groups": len(members),
        "unit": unit,
        "unit_source": unit_source,
        "r_factor": r_factor(predicted, scan.amplitude_nHW[used] / unit, _mask(scan, used)),
        "origin": whole.origin_2.tolist(),
        "shape": list(whole.object_YX.shape),
        "timing": {
            "network_s": round(network_s, 3),
            "wall_s": round(time.monotonic() - started, 3),
            "device": str(device),
        },
    }
    return Inference(
        patches_GCHW=patches,
        members_GC=members,
        stitched=whole,
        probe_MHW=probe,
        unit=unit,
        report=report,
    )


def _facts(bundle: Bundle, scan: Scan, settings: InferSettings) -> dict[str, Any]:
    known = bundle.settings
    return {
        "settings": settings.model_dump(mode="json"),
        "bundle": known.model_dump(mode="json"),
        "notes": list(scan.notes),
        "frames": len(scan),
        "intensity_scale": known.intensity_scale,
        "intensity_scale_source": known.intensity_scale_source,
        "versions": versions(torch),
    }


def write_inference(
    output_dir: io.PathLike,
    found: Inference,
    scan: Scan,
    *,
    sources: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Write object, report and pictures into a folder; `report.json` last."""
    folder = claim(output_dir, mark="report.json", files=OUTPUTS, overwrite=overwrite)
    whole = found.stitched
    arrays: dict[str, NDArray[Any]] = {
        "object": whole.object_YX,
        "coverage": whole.coverage_YX,
        "origin": whole.origin_2,
        "positions": scan.positions_n2,
        "probe": found.probe_MHW,
    }
    # Gone first, written last: results that were torn off never look finished.
    for name in ("report.json", *STATISTICS):
        (folder / name).unlink(missing_ok=True)
    io.write_npz(folder / "object.npz", arrays)
    draw_object(whole, scan.object_YX, folder)
    io.write_json(folder / "report.json", {**(sources or {}), **found.report})


def _grouping(gridsize: int, settings: InferSettings) -> GroupSettings:
    try:
        return GroupSettings(
            gridsize=gridsize, n_images=settings.n_images, neighbor_count=settings.neighbor_count
        )
    except ValidationError as error:
        raise mistake("settings", error) from None


def _mask(scan: Scan, frames: NDArray[np.int64]) -> NDArray[np.bool_] | None:
    good = scan.good_1HW
    return good if good is None or len(good) == 1 else good[frames]


def _check_scale(
    bundle: Bundle,
    settings: InferSettings,
    unit: float,
    frames_GCHW: NDArray[np.float32],
    groups: Groups,
) -> None:
    """Raise `ScaleLost` unless what enters the network is in the units that were asked for."""
    wanted = settings.scale
    if not isinstance(wanted, str):
        unit = bundle.settings.intensity_scale / wanted
    entering = groups.amplitude_nCHW.numpy()
    good = groups.good_nCHW
    # Chosen, not multiplied by 0: what was not measured may be NaN.
    measured = frames_GCHW if good is None else np.where(good.numpy(), frames_GCHW, 0)
    check_scale_reached("a unit of the frames' amplitudes", unit, measured, entering)


def _predict(
    bundle: Bundle,
    scan: Scan,
    members_GC: NDArray[np.int64],
    unit: float,
    device: torch.device,
    settings: InferSettings,
) -> NDArray[np.complex64]:
    network = bundle.network().to(device)
    groups = groups_of_scan(scan, members_GC, unit)
    _check_scale(bundle, settings, unit, scan.amplitude_nHW[members_GC], groups)
    scale = bundle.settings.input_scale
    what = f"inferring {len(members_GC)} groups, {settings.batch_size} at once"
    less = f"a --batch-size under {settings.batch_size} (the same numbers but for rounding)"
    with torch.inference_mode(), mitigated_by(what, [less]):
        parts = [
            network(batch.amplitude_BCHW.to(device) * scale).cpu()
            for batch in groups.batches(settings.batch_size)
        ]
    patches: NDArray[np.complex64] = torch.cat(parts).to(torch.complex64).numpy()
    if not np.isfinite(patches).all():
        raise InputError(
            f"{scan.source}: the network gives NaN or infinity; are its frames in other units "
            "than those it was trained on? (--scale measured)"
        )
    return patches
