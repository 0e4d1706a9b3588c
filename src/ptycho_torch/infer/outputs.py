"""What a bundle sees, as files: of a user's scan, of a test split, of the parts of a measurement.

Letters: P patches, H rows, W columns of a patch, Y rows, X columns of a stitched image.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch import __version__
from ptycho_torch.config.scan import InferSettings, ScanConventions
from ptycho_torch.data.patch_statistics import write_patch_statistics
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.scan import Scan
from ptycho_torch.data.units import Scales
from ptycho_torch.data.write import PARTS
from ptycho_torch.files import io
from ptycho_torch.files.pictures import draw_objects, save_png
from ptycho_torch.infer.dump import DUMP_FILES, Dump, write_dump
from ptycho_torch.infer.run import Inference, infer_scan
from ptycho_torch.networks.bundle import Bundle, read_bundle

OUTPUTS = ("report.json", "object.npz", "object.png")


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

    If requested, a dump (docs/own-data.md) goes into the folder `debug_dump`, and statistics of at
    most `patch_stats_limit` patches beside the results. `InputError` if bundle, file and settings
    do not fit each other, or a folder holds files.
    """
    files = (*OUTPUTS, "patch_stats.json", "patches.png")
    folder = io.must_be_free(output_dir, files, overwrite=overwrite)
    if debug_dump is not None:
        io.must_be_free(debug_dump, DUMP_FILES, overwrite=overwrite)
    bundle, scan = read_bundle(model), read_scan(test_data, reading)
    found = infer_scan(bundle, scan, settings)
    for name in files:  # What an earlier call left would be taken for this one's.
        (folder / name).unlink(missing_ok=True)
    arrays: dict[str, NDArray[Any]] = {
        "object": found.stitched.object_YX,
        "coverage": found.stitched.coverage_YX,
        "origin": found.stitched.origin_2,
        "positions": scan.positions_n2,
        "probe": bundle.probe_MHW.numpy(),
    }
    io.write_npz(folder / "object.npz", arrays)
    save_png(folder / "object.png", draw_objects({"stitched": found.stitched.known_YX}))
    report = {
        "model": {"weights_sha256": io.sha256(Path(model) / "weights.safetensors")},
        "test_data": {"file": Path(test_data).name, "sha256": io.sha256(test_data)},
        "reading": reading.model_dump(mode="json"),
        **found.report,
    }
    io.write_json(folder / OUTPUTS[0], report)
    dump = inference_dump(bundle, scan, found)
    if debug_dump is not None:
        write_dump(debug_dump, dump)
    if patch_stats_limit is not None:
        write_patch_statistics(folder, found.patches_PHW, dump.scales, limit=patch_stats_limit)
    return found


def inference_dump(bundle: Bundle, scan: Scan, found: Inference) -> Dump:
    """Return what a bundle saw in a scan, with the scales in force there.

    The intensity scale is the file's times what amplitudes were divided by, so that it shows what
    was done; where the file says no photons it is the bundle's.
    """
    trained, requested = bundle.settings, found.report["settings"]["scale"]
    own = requested if isinstance(requested, float) else scan.intensity_scale
    scale = trained.intensity_scale if own is None else own * found.unit
    return Dump(
        stitched_YX=(found.stitched.known_YX * trained.norm_Y_I).astype(np.complex64),
        made_by=f"inference by ptycho-torch {__version__}, bundle trained on {trained.dataset}, on "
        f"{Path(scan.source).name}",
        scales=Scales(**trained.model_dump() | {"intensity_scale": scale}),
        origin_2=found.stitched.origin_2.astype(np.float64),
        patches_PHW=found.patches_PHW,
        positions_P2=scan.positions_n2[found.members_GC].reshape(-1, 2),
    )


def infer_split(model: io.PathLike, split: io.PathLike, settings: InferSettings) -> Dump:
    """Use the bundle in folder `model` on the first image of a dataset split; return its dump.

    Raises as `read_bundle`, `read_scan` and `infer_scan`.
    """
    bundle, scan = read_bundle(model), read_scan(split)
    return inference_dump(bundle, scan, infer_scan(bundle, scan, settings))


def infer_measurement(
    run: io.PathLike,
    *,
    parts: Mapping[str, io.PathLike],
    outputs: Mapping[str, io.PathLike],
    settings: InferSettings,
) -> None:
    """Stitch every part of a measurement with the best weights of a run, `run.json` beside its
    bundle; outputs are paths of `objects` (NPZ) and `report` (JSON), see docs/reference/files.md.

    Objects are kept with a probe in the file's units, so that |F(probe x object)| are the file's
    amplitudes, and rPIE's and the networks' objects are scored alike. A failed run has none.
    """
    record, timing = io.read_json(run), io.read_json(Path(run).parent / "timing.json")
    arrays: dict[str, NDArray[Any]] = {}
    if record["outcome"] == "completed":
        bundle = read_bundle(Path(run).parent / "bundle")
        # The probe that the network was trained under, whatever the file guesses.
        probe = bundle.probe_MHW.numpy()
        for part in PARTS:
            seen = infer_scan(bundle, replace(read_scan(parts[part]), probe_MHW=probe), settings)
            light = seen.stitched.coverage_YX
            arrays |= {
                f"{part}_object": seen.stitched.object_YX,
                f"{part}_origin": seen.stitched.origin_2,
                f"{part}_light": light / light.max(),
                f"{part}_probe": (probe * seen.unit).astype(np.complex64),
            }
        # The held-out frames are the last part; what the network sees in each of them is scored.
        arrays["held_out_patches"] = seen.patches_PHW
        arrays["held_out_members"] = seen.members_GC.ravel()
    io.write_npz(outputs["objects"], arrays)
    report = {
        "engine": "network",
        **{key: record[key] for key in ("outcome", "failure", "best_val_loss", "settings")},
        "seconds": timing["wall_s"],
        "device": timing["device"],
    }
    io.write_json(outputs["report"], report)
