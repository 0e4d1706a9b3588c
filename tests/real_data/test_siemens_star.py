"""The real file, where PTYCHO_DATA has it: read as its README says, and quickly reconstructed."""

import json

import numpy as np
import pytest

from ptycho_torch.config.read import read_study
from ptycho_torch.config.real_data import RegionSettings
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.write import PARTS, write_parts
from ptycho_torch.physics.predict import predict_amplitudes, r_factor
from ptycho_torch.reconstruct.engine import reconstruct


@pytest.fixture
def star(root):
    return read_study(root / "config/config.yaml").real_data


def test_a_few_passes_predict_frames_that_were_held_out(real_file, star, tmp_path):
    """R falls far under that of a constant object (0.23): scale, shift and axes are right."""
    outputs = {part: tmp_path / f"{part}.npz" for part in PARTS}
    measurement = star.measurements["siemens_star"]
    assert real_file.name == measurement.file
    write_parts(
        real_file,
        measurement.reading,
        RegionSettings.model_validate(star.held_out.model_dump()),
        {**outputs, "split": tmp_path / "split.json"},
        file=real_file.name,
        sha256=measurement.sha256,
    )
    split = json.loads((tmp_path / "split.json").read_text())
    assert split["frames"] == 516 and len(split["parts"]["held_out"]) == 17
    train, held = read_scan(outputs["train"]), read_scan(outputs["held_out"])
    few = star.rpie.model_copy(update={"iterations": 6})
    made = reconstruct(train, few)
    extent = np.ptp(read_scan(real_file, measurement.reading).positions_n2, axis=0)
    assert extent == pytest.approx([165.96, 164.45], abs=0.01)
    inside = np.flatnonzero(held.positions_n2[:, 1] > train.positions_n2[:, 1].min())
    places = held.positions_n2[inside]
    guess = predict_amplitudes(made.object_YX, made.probe_MHW, places, origin=made.origin)
    assert r_factor(guess, held.amplitude_nHW[inside]) < 0.15
    swapped = predict_amplitudes(made.object_YX.T, made.probe_MHW, places, origin=made.origin[::-1])
    assert r_factor(swapped, held.amplitude_nHW[inside]) > 0.18
