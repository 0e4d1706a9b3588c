"""Train a network on a measurement, under the probe that the study's settings choose."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from ptycho_torch.config.scan import FitSettings
from ptycho_torch.data.hold_out import half_light_radius_px
from ptycho_torch.data.parts import read_part
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.train.scan import train_scan


def train_measurement(
    settings: FitSettings,
    *,
    frames: io.PathLike,
    rpie: Mapping[str, io.PathLike],
    probe: Literal["refined", "file"],
    folder: io.PathLike,
) -> dict[str, Any]:
    """Train on the training frames of a measurement; return what `run.json` says.

    Parameters
    ----------
    frames
        The training frames.
    rpie
        `objects` and `report` of the training frames' conventional reconstruction, which has the
        refined probe.
    folder
        Where the run's files go; an earlier run's are replaced.

    Raises
    ------
    InputError
        If the refined probe is asked for, and rPIE has failed.
    """
    scan = read_part(frames)
    sources = {
        "train_data": {"file": Path(frames).name, "sha256": io.sha256(frames)},
        "probe": probe,
    }
    if probe == "refined":
        report = io.read_json(rpie["report"])
        if report["outcome"] != "completed":
            raise InputError(
                f"{rpie['report']}: rPIE ended as {report['outcome']}, so there is no refined "
                "probe; mend real_data.rpie, or set network_probe: file"
            )
        refined = io.read_npz(rpie["objects"], "train_probe")["train_probe"]
        scan = replace(scan, probe_MHW=refined)
    if settings.gap_px is None and scan.probe_MHW is not None:
        # The gap around the validation block is that around the frames held out.
        settings = settings.model_copy(update={"gap_px": half_light_radius_px(scan.probe_MHW)})
    return train_scan(scan, settings, folder, sources=sources, overwrite=True)
