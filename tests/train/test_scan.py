"""Training on a measured scan: what decides it, what it writes, what it refuses."""

import numpy as np
import pandas as pd
import pytest

from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.scan import FitSettings, GroupSettings
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.scan import Scan
from ptycho_torch.data.training import data_of_file, data_of_scan
from ptycho_torch.files import io
from ptycho_torch.infer.outputs import infer_file
from ptycho_torch.networks.bundle import read_bundle
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.train import run as training


@pytest.fixture
def settings(tiny_study):
    """A gridsize and changes of the block `training` -> settings that train in a second."""

    def make(gridsize=1, **changes):
        return FitSettings(
            name="tiny",
            groups=GroupSettings(gridsize=gridsize, n_images=32),
            gap_px=6.0,
            generator=GeneratorSettings(name="hybrid", width=4, fno_blocks=2, modes=4),
            training=tiny_study.training.model_copy(update={"epochs": 1, **changes}),
            execution=tiny_study.execution,
        )

    return make


@pytest.fixture
def train_scan(tmp_path, monkeypatch):
    """Train in a named folder, without pictures: they cost more than these trainings."""
    monkeypatch.setattr(training, "draw_learning_curve", lambda *_: None)

    def train(scan, settings, name="run", test=None, **options):
        data = data_of_scan(scan, settings, test)
        return training.train_scan(data, settings, tmp_path / name, **options)

    return train


@pytest.fixture
def scan(tiny_dataset):
    return read_scan(tiny_dataset.splits["train"])


def masked(scan, good, fill):
    frames = np.where(good, scan.amplitude_nHW, fill).astype(np.float32)
    return Scan(
        source="masked", amplitude_nHW=frames, positions_n2=scan.positions_n2, good_1HW=good,
        probe_MHW=scan.probe_MHW, intensity_scale=scan.intensity_scale,
    )  # fmt: skip


def test_a_run_leaves_its_files_and_says_what_it_did(settings, tiny_dataset, tmp_path):
    chosen, files, run = settings(epochs=2), tiny_dataset.splits, tmp_path / "run"
    ready = data_of_file(files["train"], chosen, test_data=files["test"])
    record = training.train_scan(ready, chosen, run, patch_stats_limit=4)
    assert {p.name for p in run.iterdir()} == {*training.OUTPUTS, *training.OPTIONAL}
    assert (run / "learning_curve.png").stat().st_size > 1000
    assert io.read_json(run / "run.json") == record
    assert FitSettings.model_validate(record["settings"]) == chosen
    data = record["data"]
    assert data["train_data"]["sha256"] == io.sha256(files["train"])
    assert data["train_groups"] == 32 and len(data["validation_frames"]) == 18
    assert record["outcome"] == "completed" and record["best_val_loss"] < record["first_loss"]
    assert list(pd.read_csv(run / "history.csv")["epoch"]) == [1, 2]
    known, timing = read_bundle(run / "bundle"), io.read_json(run / "timing.json")
    assert known.settings.intensity_scale_source == "measured"
    assert known.settings.intensity_scale == record["intensity_scale"]["best"]
    assert known.record["run"]["training"] == record["settings"]["training"]
    assert io.read_npz(run / "test_patches.npz")["best"].shape == (121, 16, 16, 1)
    assert io.read_json(run / "patch_stats.json")["scales"]["intensity_scale_source"] == "measured"
    assert (timing["threads"], timing["device"]) == (1, "cpu")


def test_a_learned_scale_moves_and_is_that_of_the_best_weights(
    settings, scan, train_scan, tmp_path
):
    fixed = train_scan(scan, settings(epochs=2), "fixed")
    learned = train_scan(scan, settings(epochs=2, intensity_scale="learned"), "learned")
    start = fixed["intensity_scale"]["measured"]
    assert fixed["intensity_scale"] == {"measured": start, "best": start, "last": start}
    assert learned["first_loss"] == fixed["first_loss"]
    assert learned["best_val_loss"] != fixed["best_val_loss"]
    history = pd.read_csv(tmp_path / "learned" / "history.csv")
    assert (abs(history["intensity_scale"] / start - 1) > 1e-4).all()
    best = history["intensity_scale"][learned["best_epoch"] - 1]
    known = read_bundle(tmp_path / "learned" / "bundle").settings
    assert known.intensity_scale == pytest.approx(best, rel=1e-12)
    assert known.intensity_scale_source == "learned"


def test_masked_pixels_change_nothing_whatever_they_hold(settings, scan, train_scan):
    """NaN, or a hot pixel: the same training; without the mask the hot pixel changes it."""
    good = np.ones((1, 16, 16), bool)
    good[0, 2:4, 5] = False
    cases = ((good, np.nan), (good, 50.0), (np.ones_like(good), 50.0))
    for loss in ("mae", "poisson"):
        dead, hot, seen = (
            train_scan(masked(scan, mask, fill), settings(loss=loss), f"{loss}{i}")
            for i, (mask, fill) in enumerate(cases)
        )
        assert np.isfinite(dead["best_val_loss"]) and dead == hot
        assert dead["first_loss"] != seen["first_loss"]


def test_groups_are_merged_unless_told_not_to(settings, scan, train_scan, tmp_path):
    found = {
        (grid, big): train_scan(scan, settings(grid, object_big=big), f"{grid}{big}")
        for grid in (1, 2)
        for big in (True, False)
    }
    assert found[2, True]["first_loss"] != found[2, False]["first_loss"]
    assert found[1, True]["best_val_loss"] == found[1, False]["best_val_loss"]
    for big in (True, False):
        known = read_bundle(tmp_path / f"2{big}" / "bundle").settings
        assert (known.channels, known.gridsize, known.object_big) == (4, 2, big)


def test_what_is_held_out_never_trains(settings, scan):
    for gridsize in (1, 2):
        ready = data_of_scan(scan, settings(gridsize))
        held_out = {*ready.facts["validation_frames"], *ready.facts["gap_frames"]}
        assert held_out and not held_out & set(ready.members_nC.ravel())


def test_the_test_data_select_nothing(settings, scan, train_scan, tmp_path):
    """Another test file, the same run to the byte but for its predictions."""
    other = Scan(
        source="dark", amplitude_nHW=scan.amplitude_nHW[:9] * 0.1,
        positions_n2=scan.positions_n2[:9], intensity_scale=scan.intensity_scale,
    )  # fmt: skip
    first = train_scan(scan, settings(), "a", test=scan)
    assert first == train_scan(scan, settings(), "b", test=other)
    for file in ("run.json", "history.csv", "bundle/bundle.json", "bundle/weights.safetensors"):
        one, two = ((tmp_path / name / file).read_bytes() for name in "ab")
        assert one == two, file


def test_results_are_never_lost_unless_told_so(settings, scan, train_scan, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"dataset 'tiny': .* is 64, .* only 32 groups"):
        train_scan(scan, settings(batch_size=64), "out")
    folder = tmp_path / "out"
    folder.mkdir()  # A refused run has left nothing.
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"out: holds files \(thesis.txt\)"):
        train_scan(scan, settings(), "out")
    train_scan(scan, settings(), "out", overwrite=True)
    assert (folder / "thesis.txt").read_text() == "mine"
    with pytest.raises(InputError, match="out: holds a finished run"):
        train_scan(scan, settings(), "out")
    # What is torn off while it is written over never looks finished.
    assert (folder / "run.json").exists()
    monkeypatch.setattr(training, "write_results", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_scan(scan, settings(), "out", overwrite=True)
    assert not (folder / "run.json").exists()


def test_training_and_inference_of_groups_agree(settings, scan, train_scan, tiny_dataset, tmp_path):
    """The patches that training predicts are those that the bundle sees in the same file."""
    test = tiny_dataset.splits["test"]
    train_scan(scan, settings(2, object_big=False), test=read_scan(test))
    found = infer_file(tmp_path / "run" / "bundle", test, tmp_path / "seen")
    stored = io.read_npz(tmp_path / "run" / "test_patches.npz", "best")["best"]
    stored_PHW = np.moveaxis(stored, -1, 1).reshape(found.patches_PHW.shape)
    np.testing.assert_allclose(found.patches_PHW, stored_PHW, atol=1e-5)
