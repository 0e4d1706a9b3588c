"""Parity: training and inference of one bundle agree on the test split's first image.

Letters: n groups, C patches of a group, H rows, W columns of a patch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_torch.config.evaluation import ParitySettings
from ptycho_torch.data.dataset_file import Split
from ptycho_torch.data.units import Scales
from ptycho_torch.files import io
from ptycho_torch.infer.compare import compare, write_comparison
from ptycho_torch.infer.dump import Dump, read_dump, write_dump
from ptycho_torch.infer.run import stitch
from ptycho_torch.runtime.errors import InputError


def _training_dump(
    *, run: io.PathLike, dataset: io.PathLike, test: io.PathLike, patches: io.PathLike
) -> Dump:
    """Return what training predicted with its best weights, stitched as inference does, and the
    scales of its module."""
    record, facts = io.read_json(run), io.read_json(dataset)
    keys = ("coords_offsets", "coords_nominal", "image_index", "probeGuess")
    split = Split(io.read_npz(test, *keys))
    corners_nC2 = np.asarray(split.corners_nC2, np.float64)
    patches_nCHW = np.moveaxis(io.read_npz(patches, "best")["best"], -1, 1)
    norm = facts["splits"]["train"]["norm_Y_I"]
    learned = record["settings"]["training"]["intensity_scale"] == "learned"
    scales = Scales(
        input_scale=record["input_scale"],
        intensity_scale=record["intensity_scale"]["best"],
        intensity_scale_source="learned" if learned else "of the training data",
        norm_Y_I=norm,
    )
    first = split.arrays["image_index"] == 0
    patches_PHW = patches_nCHW[first].reshape(-1, *patches_nCHW.shape[2:])
    positions_P2 = corners_nC2[first].reshape(-1, 2)
    stitched = stitch(patches_PHW, positions_P2, split.probe_MHW)
    return Dump(
        stitched_YX=(stitched.known_YX * norm).astype(np.complex64),
        made_by=f"training of {record['arm']}, seed {record['seed']}, on {record['dataset']}: "
        "its best weights on the test split",
        scales=scales,
        origin_2=stitched.origin_2.astype(np.float64),
        patches_PHW=patches_PHW,
        positions_P2=positions_P2,
        source=str(patches),
    )


def report_parity(
    *,
    run: io.PathLike,
    dataset: io.PathLike,
    test: io.PathLike,
    patches: io.PathLike,
    inference: io.PathLike,
    settings: Mapping[str, Any],
    folder: io.PathLike,
) -> None:
    """Write the training's dump into `training/`, and the report, whatever it says, from
    `run.json`, `dataset.json`, `test.npz`, `test_patches.npz`, the folder of the inference's dump
    and `ParitySettings`; `InputError` if a file is damaged."""
    folder, limits = Path(folder), ParitySettings.model_validate(dict(settings))
    dump = _training_dump(run=run, dataset=dataset, test=test, patches=patches)
    write_dump(folder / "training", dump)
    # Read back, so that what is compared is what anybody can compare again.
    comparison, images = compare(
        read_dump(folder / "training"), read_dump(inference), tolerance=limits.tolerance
    )
    record = io.read_json(run)
    report = {
        "run": {key: record[key] for key in ("dataset", "arm", "seed", "outcome")},
        "settings": limits.model_dump(mode="json"),
        **comparison,
    }
    write_comparison(folder, report, images, "parity")


def require_parity(report: io.PathLike, passed: io.PathLike) -> None:
    """Write `passed` if a report says that all agreed; else `InputError` says what failed, and
    where to read it."""
    facts = io.read_json(report)
    if facts["passed"] is not True:
        raise InputError(
            f"{report}: parity {facts['headline']}; {Path(report).with_name('parity.md')} has the "
            "numbers"
        )
    io.write_text(passed, f"{facts['headline']}\n")
