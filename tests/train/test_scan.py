"""Training and inference on a measured scan: what is written, and that the two agree."""

import json

import numpy as np
import pytest

from ptycho_torch import io
from ptycho_torch.config.files import FitSettings, GroupSettings
from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.infer.run import infer_file
from ptycho_torch.train.scan import train_file


@pytest.fixture
def settings(tiny_study):
    """A gridsize, a loss and other changes -> settings of a training that takes a second."""

    def make(gridsize=1, **training):
        return FitSettings(
            name="tiny",
            groups=GroupSettings(gridsize=gridsize),
            gap_px=6.0,
            generator=GeneratorSettings(name="hybrid", width=4, fno_blocks=2, modes=4),
            training=tiny_study.training.model_copy(update=training),
            execution=tiny_study.execution,
        )

    return make


@pytest.mark.parametrize("gridsize", [1, 2])
def test_training_and_inference_on_files_agree(settings, tiny_dataset, tmp_path, gridsize):
    """The patches that training predicts are those that the bundle sees in the same file."""
    run = tmp_path / "run"
    record = train_file(
        tiny_dataset.splits["train"],
        settings(gridsize, object_big=False),
        run,
        test_data=tiny_dataset.splits["test"],
    )
    assert record["outcome"] == "completed"
    assert json.loads((run / "run.json").read_text()) == record
    found = infer_file(run / "bundle", tiny_dataset.splits["test"], tmp_path / "seen")
    stored = np.moveaxis(io.read_npz(run / "test_patches.npz", "best")["best"], -1, 1)
    np.testing.assert_allclose(found.patches_GCHW, stored, atol=1e-5)
    assert found.report["intensity_scale"] == pytest.approx(record["intensity_scale"]["best"])
    assert found.report["r_factor"] < 0.9
