"""Training on a measured scan: what decides it, what it writes, what it refuses."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.scan import FitSettings, GroupSettings
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.scan import Scan
from ptycho_torch.data.training import data_of_file, data_of_scan
from ptycho_torch.files import io
from ptycho_torch.infer.outputs import infer_file
from ptycho_torch.networks.bundle import read_bundle
from ptycho_torch.physics.stitch import reassemble
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


def train_scan(scan, settings, folder, test=None, **options):
    return training.train_scan(data_of_scan(scan, settings, test), settings, folder, **options)


def train_file(path, settings, folder, test_data=None):
    data = data_of_file(path, settings, test_data=test_data)
    return training.train_scan(data, settings, folder)


@pytest.fixture
def no_pictures(monkeypatch):
    """Drawing costs more than these trainings; one test looks at the pictures."""
    monkeypatch.setattr(training, "draw_learning_curve", lambda *_, **__: None)


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
    chosen = settings(epochs=2)
    run = tmp_path / "run"
    record = train_file(
        tiny_dataset.splits["train"], chosen, run, test_data=tiny_dataset.splits["test"]
    )
    assert {p.name for p in run.iterdir()} == {*training.OUTPUTS, "test_patches.npz"}
    assert io.read_json(run / "run.json") == record
    assert FitSettings.model_validate(record["settings"]) == chosen
    data = record["data"]
    assert data["train_data"]["sha256"] == io.sha256(tiny_dataset.splits["train"])
    assert data["train_groups"] == 32 and len(data["validation_frames"]) == 18
    assert record["outcome"] == "completed" and record["best_val_loss"] < record["first_loss"]
    history = pd.read_csv(run / "history.csv")
    assert list(history["epoch"]) == [1, 2]
    known = read_bundle(run / "bundle")
    assert known.settings.intensity_scale_source == "measured"
    assert known.settings.intensity_scale == record["intensity_scale"]["best"]
    assert known.record["run"]["training"] == record["settings"]["training"]
    patches = io.read_npz(run / "test_patches.npz")
    assert patches["best"].shape == (121, 16, 16, 1)


@pytest.mark.usefixtures("no_pictures")
def test_the_same_training_twice_gives_the_same_bytes(settings, scan, tmp_path):
    for name in ("one", "two"):
        train_scan(scan, settings(), tmp_path / name)
    for file in ("run.json", "history.csv", "bundle/bundle.json", "bundle/weights.safetensors"):
        first, second = ((tmp_path / name / file).read_bytes() for name in ("one", "two"))
        assert first == second, file


@pytest.mark.usefixtures("no_pictures")
def test_a_learned_scale_moves_and_is_that_of_the_best_weights(settings, scan, tmp_path):
    fixed = train_scan(scan, settings(epochs=2), tmp_path / "fixed")
    learned = train_scan(scan, settings(epochs=2, intensity_scale="learned"), tmp_path / "learned")
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


@pytest.mark.parametrize("loss", ["mae", "poisson"])
def test_masked_pixels_change_nothing_whatever_they_hold(settings, scan, loss):
    """NaN, or a hot pixel: the same loss; without the mask the hot pixel changes it."""
    good = np.ones((1, 16, 16), bool)
    good[0, 2:4, 5] = False
    losses = []
    for made in (
        masked(scan, good, np.nan),
        masked(scan, good, 50.0),
        masked(scan, np.ones_like(good), 0.0),
    ):
        ready = data_of_scan(made, settings(loss=loss))
        batch = ready.train.take(slice(0, 8))
        observed, predicted = batch.amplitude_BCHW, 1.1 * batch.amplitude_BCHW + 0.01
        scales = ready.scales["train"]
        losses.append(float(scales.loss(loss, predicted, observed, batch.good_BCHW)))
        # What is predicted where nothing was measured is nobody's business.
        predicted[:, :, 2:4, 5] = 99.0
        again = float(scales.loss(loss, predicted, observed, batch.good_BCHW))
        assert (again == losses[-1]) == (batch.good_BCHW is not None)
    assert np.isfinite(losses).all()
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.usefixtures("no_pictures")
def test_the_mask_reaches_the_steps_of_a_training(settings, scan, tmp_path):
    good = np.ones((1, 16, 16), bool)
    good[0, 4:9, 4:9] = False
    with_mask = train_scan(masked(scan, good, np.nan), settings(), tmp_path / "a")
    assert with_mask["outcome"] == "completed"
    hole = masked(scan, good, 0.0)
    unmasked = Scan(
        source="hole", amplitude_nHW=hole.amplitude_nHW, positions_n2=scan.positions_n2,
        probe_MHW=scan.probe_MHW, intensity_scale=scan.intensity_scale,
    )  # fmt: skip
    without = train_scan(unmasked, settings(), tmp_path / "b")
    assert with_mask["first_loss"] != without["first_loss"]


@pytest.mark.usefixtures("no_pictures")
def test_groups_are_merged_unless_told_not_to(settings, scan, tmp_path):
    merged = train_scan(scan, settings(2), tmp_path / "merged")
    apart = train_scan(scan, settings(2, object_big=False), tmp_path / "apart")
    assert merged["first_loss"] != apart["first_loss"]
    for name, big in (("merged", True), ("apart", False)):
        known = read_bundle(tmp_path / name / "bundle").settings
        assert (known.channels, known.gridsize, known.object_big) == (4, 2, big)
    single = [
        train_scan(scan, settings(1, object_big=big), tmp_path / f"single{big}")
        for big in (True, False)
    ]
    assert single[0]["best_val_loss"] == single[1]["best_val_loss"]


def test_what_is_held_out_never_trains(settings, scan):
    for gridsize in (1, 2):
        ready = data_of_scan(scan, settings(gridsize))
        held_out = {*ready.facts["validation_frames"], *ready.facts["gap_frames"]}
        assert held_out and not held_out & set(ready.members_nC.ravel())


@pytest.mark.usefixtures("no_pictures")
def test_the_test_data_select_nothing(settings, scan, tmp_path):
    """Another test file, the same run to the byte but for its predictions."""
    other = Scan(
        source="dark", amplitude_nHW=scan.amplitude_nHW[:9] * 0.1,
        positions_n2=scan.positions_n2[:9], intensity_scale=scan.intensity_scale,
    )  # fmt: skip
    first = train_scan(scan, settings(), tmp_path / "a", test=scan)
    second = train_scan(scan, settings(), tmp_path / "b", test=other)
    assert first == second


def test_a_run_that_diverges_is_a_result_with_all_its_files(settings, scan, tmp_path):
    wild = settings().training.optimizer.model_copy(update={"learning_rate": 1e6})
    record = train_scan(scan, settings(optimizer=wild, epochs=3), tmp_path / "wild")
    assert record["outcome"] in ("exploded", "non_finite", "collapsed")
    assert record["failure"]["reason"]
    read_bundle(tmp_path / "wild" / "bundle")
    assert (tmp_path / "wild" / "learning_curve.png").stat().st_size > 1000


@pytest.mark.usefixtures("no_pictures")
def test_results_are_never_lost_unless_told_so(settings, scan, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"out: holds files \(thesis.txt\)"):
        train_scan(scan, settings(), folder)
    assert [p.name for p in folder.iterdir()] == ["thesis.txt"]
    train_scan(scan, settings(), folder, overwrite=True)
    assert (folder / "thesis.txt").read_text() == "mine"
    before = (folder / "run.json").read_bytes()
    with pytest.raises(InputError, match="out: holds a finished run"):
        train_scan(scan, settings(), folder)
    assert (folder / "run.json").read_bytes() == before
    with pytest.raises(InputError, match=r"thesis.txt is no folder"):
        train_scan(scan, settings(), folder / "thesis.txt", overwrite=True)


@pytest.mark.usefixtures("no_pictures")
def test_too_few_frames_for_a_batch_are_refused_before_anything_is_written(
    settings, scan, tmp_path
):
    few = settings(batch_size=64)
    with pytest.raises(InputError, match=r"batch_size is 64, .* only 32 groups"):
        train_scan(scan, few, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_pictures")
def test_the_threads_asked_for_are_used(settings, scan, tmp_path):
    train_scan(scan, settings(), tmp_path / "run")
    timing = json.loads((tmp_path / "run" / "timing.json").read_text())
    assert timing["threads"] == 1 and timing["device"] == "cpu"
    assert torch.get_num_threads() == 1


@pytest.mark.usefixtures("no_pictures")
def test_a_pipelines_bundle_sees_in_its_test_split_what_training_wrote(
    train_tiny, tiny_dataset, tmp_path
):
    """Patches, and what they are stitched to, by the study's own reassembly."""
    result = train_tiny(training={"epochs": 1})
    stored = io.read_npz(result.outputs["patches"], "best")["best"][..., 0]
    found = infer_file(
        result.outputs["bundle"].parent, tiny_dataset.splits["test"], tmp_path / "seen"
    )
    np.testing.assert_allclose(found.patches_GCHW[:, 0], stored, atol=1e-5)
    scan = read_scan(tiny_dataset.splits["test"])
    weight = (np.abs(scan.probe_MHW) ** 2).sum(axis=0)
    corners = scan.positions_n2.astype(np.int64)
    theirs = reassemble(stored, corners, np.zeros(len(corners), int), weight, 16)[0]
    lit = found.stitched.coverage_YX > 0.1
    np.testing.assert_allclose(found.stitched.object_YX[lit], theirs[lit], atol=2e-5)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("gridsize", [1, 2])
def test_training_and_inference_on_files_agree(settings, tiny_dataset, tmp_path, gridsize):
    """The patches that training predicts are those that the bundle sees in the same file."""
    files = tiny_dataset.splits
    train_file(
        files["train"],
        settings(gridsize, object_big=False),
        tmp_path / "run",
        test_data=files["test"],
    )
    found = infer_file(tmp_path / "run" / "bundle", files["test"], tmp_path / "seen")
    stored = io.read_npz(tmp_path / "run" / "test_patches.npz", "best")["best"]
    np.testing.assert_allclose(found.patches_GCHW, np.moveaxis(stored, -1, 1), atol=1e-5)
