"""Reconstruct one measured scan and write what came out (docs/files.md).

Letters: n frames, M probe modes, H rows, W columns of a frame, Y rows, X columns of the canvas.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ptycho_torch.config.reconstruct import RpieSettings
from ptycho_torch.data.scan import Scan
from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.files.output_folder import claim, must_be_free
from ptycho_torch.physics.predict import predict_amplitudes, r_factor
from ptycho_torch.reconstruct.picture import draw
from ptycho_torch.reconstruct.rpie import Reconstruction, reconstruct_rpie
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.jobs import usable_threads
from ptycho_torch.runtime.provenance import commit, platform_name, versions

logger = logging.getLogger(__name__)

OUTPUTS = ("object.npz", "reconstruction.png", "report.json")

EngineName = Literal["rpie", "ptychi-rpie", "ptychi-lsqml"]


def reconstruct_scan(
    scan: Scan,
    settings: RpieSettings,
    *,
    folder: PathLike,
    engine: EngineName = "rpie",
    held_out: int | None = None,
    threads: int = 1,
    device: str = "cpu",
    overwrite: bool = False,
    on_pass: Callable[[int, float], None] | None = None,
) -> dict[str, Any]:
    """Reconstruct a scan; write `object.npz`, `reconstruction.png` and `report.json`.

    Parameters
    ----------
    held_out
        Keep every so many-th frame out and predict it at the end; None: use all. Neighbours of a
        held-out frame see most of its object, so this tests the fit, not unseen places.
    threads
        CPU threads of torch.
    overwrite
        Replace an earlier reconstruction in the folder.

    Returns
    -------
    dict
        What `report.json` holds.

    Raises
    ------
    InputError
        If the scan has no probe, the folder holds files, the engine is not installed, or the
        result is not finite.
    """
    if scan.probe_MHW is None:
        raise InputError(
            f"{scan.source}: has no probe, and rPIE needs one to start from; add 'probeGuess' to "
            "the file"
        )
    use_n = np.ones(len(scan), bool)
    if held_out is not None:
        if not 2 <= held_out <= len(scan):
            raise InputError(
                f"--held-out {held_out} of {len(scan)} frames leaves none on one side; give a "
                f"number from 2 to {len(scan)}"
            )
        use_n[held_out - 1 :: held_out] = False
    must_be_free(folder, mark=OUTPUTS[-1], files=OUTPUTS, overwrite=overwrite)
    torch.set_num_threads(usable_threads(threads))
    made = _reconstruct(scan, settings, use_n, engine, device, on_pass)
    if made.stopped == "non_finite":
        raise InputError(
            f"{scan.source}: the reconstruction is not finite after pass {len(made.error)}; take a "
            "larger --alpha, or a smaller --batch-size"
        )
    report = _report(scan, settings, made, use_n, engine, device)
    folder = claim(folder, mark=OUTPUTS[-1], files=OUTPUTS, overwrite=overwrite)
    # Gone first, written last: results that were torn off never look finished.
    (folder / "report.json").unlink(missing_ok=True)
    io.write_npz(
        folder / "object.npz",
        {
            "object": made.object_YX,
            "origin": np.array(made.origin),
            "probe": made.probe_MHW,
            "light": made.light_YX,
            "error": np.array(made.error),
            "used": use_n,
        },
    )
    with io.atomic_write(folder / "reconstruction.png") as part:
        draw(made, part, title=f"{Path(scan.source).name}, {engine}")
    io.write_json(folder / "report.json", report)
    return report


def _reconstruct(
    scan: Scan,
    settings: RpieSettings,
    use_n: Any,
    engine: EngineName,
    device: str,
    on_pass: Callable[[int, float], None] | None,
) -> Reconstruction:
    assert scan.probe_MHW is not None
    arrays = (scan.amplitude_nHW, scan.positions_n2, scan.probe_MHW, settings)
    shared: dict[str, Any] = {"good_1HW": scan.good_1HW, "use_n": use_n, "on_pass": on_pass}
    if engine == "rpie":
        return reconstruct_rpie(*arrays, **shared, device=device)
    from ptycho_torch.reconstruct.ptychi_adapter import reconstruct_ptychi

    return reconstruct_ptychi(*arrays, **shared, engine=engine)


def _report(
    scan: Scan,
    settings: RpieSettings,
    made: Reconstruction,
    use_n: Any,
    engine: EngineName,
    device: str,
) -> dict[str, Any]:
    predicted = predict_amplitudes(
        made.object_YX, made.probe_MHW, scan.positions_n2, origin=made.origin
    )
    good = scan.good_1HW

    def score(which_n: Any) -> float | None:
        if not which_n.any():
            return None
        mask = good if good is None or len(good) == 1 else good[which_n]
        return r_factor(predicted[which_n], scan.amplitude_nHW[which_n], mask)

    return {
        "source": Path(scan.source).name,
        "notes": list(scan.notes),
        "engine": engine,
        "settings": settings.model_dump(mode="json"),
        "frames": len(scan),
        "frames_used": int(use_n.sum()),
        "patch_px": scan.patch_px,
        "probe_modes": len(made.probe_MHW),
        "object_px": list(made.object_YX.shape),
        "origin_px": list(made.origin),
        "passes": len(made.error),
        "stopped": made.stopped,
        "r_factor": score(use_n),
        "r_factor_held_out": score(~use_n),
        "error": list(made.error),
        "seconds": [round(second, 6) for second in made.seconds],
        "device": device,
        "threads": torch.get_num_threads(),
        "commit": commit(Path(__file__)),
        "platform": platform_name(),
        "versions": versions(torch, np),
    }
