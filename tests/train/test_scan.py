"""Training on a measured scan: what decides it, what it writes, what it refuses; and what a study
costs."""

import json
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from tests.commands import call

from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.scan import FitSettings, GroupSettings
from ptycho_torch.data.batch import SplitScales
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.training import data_of_file, data_of_scan
from ptycho_torch.files import io
from ptycho_torch.networks.bundle import read_bundle
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.train import cost
from ptycho_torch.train import run as training
from ptycho_torch.train.cost import Workload


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
def train_scan(tmp_path):
    """Train in a named folder."""

    def train(scan, settings, name="run", test=None, **options):
        data = data_of_scan(scan, settings, test)
        return training.train_scan(data, settings, tmp_path / name, **options)

    return train


@pytest.fixture
def scan(tiny_dataset):
    return read_scan(tiny_dataset.splits["train"])


def test_a_run_leaves_its_files_and_says_what_it_did(settings, tiny_dataset, tmp_path):
    chosen, files, run = settings(epochs=2), tiny_dataset.splits, tmp_path / "run"
    ready = data_of_file(files["train"], chosen, test_data=files["test"])
    record = training.train_scan(ready, chosen, run, patch_stats_limit=4)
    left = {*training.OUTPUTS, *training.OPTIONAL} - {"objects.png"}
    assert {p.name for p in run.iterdir()} == left
    assert io.read_json(run / "run.json") == record
    assert FitSettings.model_validate(record["settings"]) == chosen
    data = record["data"]
    assert data["train_data"]["sha256"] == io.sha256(files["train"])
    assert len(data["validation_frames"]) == 18
    assert record["outcome"] == "completed" and record["best_val_loss"] < record["first_loss"]
    assert list(pd.read_csv(run / "history.csv")["epoch"]) == [1, 2]
    known, timing = read_bundle(run / "bundle"), io.read_json(run / "timing.json")
    assert known.settings.intensity_scale_source == "measured"
    assert known.settings.intensity_scale == record["intensity_scale"]["best"]
    assert known.record["run"]["training"] == record["settings"]["training"]
    assert io.read_npz(run / "test_patches.npz")["best"].shape == (121, 16, 16, 1)
    assert io.read_json(run / "patch_stats.json")["scales"]["intensity_scale_source"] == "measured"
    assert (timing["threads"], timing["device"]) == (1, "cpu")


def test_a_learned_scale_is_that_of_the_best_weights(settings, scan, train_scan, tmp_path):
    learned = train_scan(scan, settings(epochs=2, intensity_scale="learned"))
    scales = pd.read_csv(tmp_path / "run/history.csv")["intensity_scale"]
    assert (abs(scales / learned["intensity_scale"]["measured"] - 1) > 1e-4).all()
    known = read_bundle(tmp_path / "run/bundle").settings
    best = pytest.approx(scales[learned["best_epoch"] - 1], rel=1e-12)
    assert (known.intensity_scale, known.intensity_scale_source) == (best, "learned")


@pytest.mark.parametrize("loss", ["mae", "poisson"])
def test_masked_pixels_change_nothing(settings, scan, train_scan, monkeypatch, loss):
    """NaN or hot as measured, and whatever is predicted there, in every loss of a training."""
    good, original, seen = np.ones((1, 16, 16), bool), SplitScales.loss, []
    good[0, 2:4, 5] = False

    def compare(self, name, predicted, observed, mask):
        value, wild = original(self, name, predicted, observed, mask), predicted.detach().clone()
        wild[..., 2:4, 5] = 99.0
        seen.append(original(self, name, wild, observed, mask).item() == value.item())
        return value

    def train(fill):
        frames = np.where(good, scan.amplitude_nHW, fill).astype(np.float32)
        changed = replace(scan, amplitude_nHW=frames, good_1HW=good)
        return train_scan(changed, settings(loss=loss), f"{fill}")

    monkeypatch.setattr(SplitScales, "loss", compare)
    dead = train(np.nan)
    assert np.isfinite(dead["best_val_loss"]) and dead == train(50.0)
    assert len(seen) > 4 and all(seen)


def test_groups_are_merged_unless_told_not_to(settings, scan, train_scan, tmp_path):
    losses = set()
    for big in (True, False):
        losses.add(train_scan(scan, settings(2, object_big=big), f"{big}")["first_loss"])
        known = read_bundle(tmp_path / f"{big}" / "bundle").settings
        assert (known.channels, known.gridsize, known.object_big) == (4, 2, big)
    assert len(losses) == 2


def test_what_is_held_out_never_trains(settings, scan):
    for gridsize in (1, 2):
        ready = data_of_scan(scan, settings(gridsize))
        seen = {frame.tobytes() for frame in ready.train.amplitude_BCHW.flatten(0, 1).numpy()}
        frames = [f.tobytes() for f in scan.amplitude_nHW / np.float32(ready.facts["unit"])]
        held_out = {*ready.facts["validation_frames"], *ready.facts["gap_frames"]}
        assert held_out and not seen & {frames[n] for n in held_out}
        assert seen < set(frames)


def test_the_test_data_select_nothing(settings, scan, train_scan, tmp_path):
    """Another test file, the same run to the byte but for its predictions."""
    dark = scan.take(np.arange(9))
    other = replace(dark, amplitude_nHW=0.1 * dark.amplitude_nHW)
    first = train_scan(scan, settings(), "a", test=scan)
    assert first == train_scan(scan, settings(), "b", test=other)
    for file in ("run.json", "history.csv", "bundle/bundle.json", "bundle/weights.safetensors"):
        one, two = ((tmp_path / name / file).read_bytes() for name in "ab")
        assert one == two, file


def test_results_are_never_lost_unless_told_so(settings, scan, train_scan, tmp_path):
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


PACE = {"step": 0.5, "validation_batch": 0.25, "memory_mib": 100.0}
SIZES = {"train": 121, "validation": 121, "test": 121}


@pytest.fixture
def plan(monkeypatch, root, tmp_path):
    """Run `ptycho-torch plan` on a machine whose times are known; return its text and its JSON."""
    monkeypatch.setattr(cost, "process_peak", lambda: 300 * 2**20)
    monkeypatch.setattr(cost, "time", SimpleNamespace(process_time=lambda: 5.0))
    monkeypatch.setattr(cost, "measure", Mock(side_effect=lambda *_: dict(PACE)))
    output = tmp_path / "plan.json"

    def run(*words, study=root / "tests/tiny.yaml"):
        said = call("plan", study, "--output", output, *words)
        return said, json.loads(output.read_text())

    return run


def test_memory_and_times_of_an_arm_by_hand(plan):
    """Width 4, 2 blocks, 4 modes at N=16; 121 frames in batches of 8."""
    text, found = plan()
    row = found["arms"][0]
    assert row["arm"] == "control"
    assert row["parameters"]["stored"] == 3758
    assert row["groups"] == SIZES
    # Eight epochs of 15 steps, as many validations and two predictions of 121 = 2 batches of 64.
    assert row["seconds"]["run"] == 5.0 + 8 * 15 * 0.5 + 8 * 2 * 0.25 + 2 * 2 * 0.25
    assert "70 s" in text
    # Interpreter and libraries, what the probe took, and the frames.
    data = 3 * 121 * 16 * 16 * 4 / 2**20
    assert row["memory_mib"] == pytest.approx(300 + 100 + data)


def test_a_whole_study_counts_each_run_once(plan, root, tmp_path):
    _, found = plan("--runs-at-once", 2)
    assert found["study"]["runs"] == sum(stage["new_runs"] for stage in found["stages"])
    assert found["study"]["seconds"] == found["study"]["runs"] * 70.0 / 2
    # A job of several seeds starts once: in 5 s of the 70.
    many = tmp_path / "many.yaml"
    many.write_text((root / "tests" / "tiny.yaml").read_text() + "\nseeds_per_job: 50\n")
    arms = [row["arm"] for row in found["arms"]]
    _, together = plan("--runs-at-once", 2, study=many)
    work_s = found["study"]["runs"] * 65.0 + len(arms) * 5.0
    assert together["study"]["seconds"] == work_s / 2
    assert set(arms) >= {"control", "agc", "control-fno_blocks-3"}
    # Another bound of the same clipping, or another rate, takes the same and is not probed again.
    same = {arm for arm in arms if "max_ratio" in arm or "learning_rate" in arm}
    probed = [call.args[0].arm for call in cost.measure.mock_calls]
    assert set(arms) - set(probed) == same and len(arms) - len(same) == len(probed) // 2


def test_the_steps_of_a_probe_are_those_of_a_training(run_of, monkeypatch):
    """Real steps, of the run's own clipping, batch and merging; the first is not timed."""
    clock, batches, fit = iter(range(1000)), [], cost.fit

    def seen(module, train, validation):
        batches.append((module.run, len(train), len(validation)))
        return fit(module, train, validation)

    # Steps begin at 0, 1, 4, 9, 16, 25: without the first 3, 5, 7, 9.
    monkeypatch.setattr(cost, "_now", lambda: float(next(clock)) ** 2)
    monkeypatch.setattr(cost, "fit", seen)
    run = run_of("agc", execution={"checkpointing": True, "precision": "bf16"})
    work = Workload(patch_px=16, channels=4, groups=SIZES)
    monkeypatch.setattr(cost, "STEPS", 4)
    found = cost.train_on_noise(run, work)
    assert (found["step"], found["validation_batch"]) == (6, 49 - 36)
    ((trained, frames, checks),) = batches
    assert (frames, checks) == (6 * run.training.batch_size, 64)
    assert trained.execution == run.execution and trained.generator == run.generator
