"""A training that was stopped resumes after its last epoch and ends with the same bytes."""

import errno
import re
import signal
import time

import pytest
import torch

from ptycho_torch.runtime.streams import named_stream
from ptycho_torch.train import checkpoint
from ptycho_torch.train.checkpoint import CHECKPOINT
from ptycho_torch.train.fit import fit
from ptycho_torch.train.module import PtychoModule

EPOCHS, STEPS = 4, 15
SGD = {"name": "sgd", "learning_rate": 1e-2}
ADAMW = {"name": "adamw", "learning_rate": 2e-3, "weight_decay": 0.01}
COSINE = {"name": "warmup_cosine", "warmup_epochs": 1.5}
PLATEAU = {"name": "plateau", "factor": 0.5, "patience_epochs": 1}
CASES = {
    "adam": ({}, {"gradient_clip_algorithm": "none"}),
    "adamw, cosine, learned scale": (
        {"optimizer": ADAMW, "schedule": COSINE, "intensity_scale": "learned"},
        {"gradient_clip_algorithm": "norm", "max_norm": 0.5},
    ),
    "sgd, exponential": (
        {"optimizer": SGD, "schedule": {"name": "exponential", "gamma": 0.7}},
        {"gradient_clip_algorithm": "agc", "max_ratio": 0.02},
    ),
    # A rate this large makes the loss rise, so that the plateau is met.
    "plateau, poisson": (
        {"optimizer": {"name": "adam", "learning_rate": 0.03}, "schedule": PLATEAU,
         "loss": "poisson", "collapse_variance": None},
        {"gradient_clip_algorithm": "value", "max_value": 0.01},
    ),
}  # fmt: skip


class Killed(BaseException):
    """Stands for whatever ends a process in the middle of a step."""


@pytest.fixture
def training(run_of, tiny_data, tmp_path, monkeypatch):
    """Train; with `until`, so many steps and no more. Returns the result and the steps taken."""
    monkeypatch.setattr(checkpoint, "SHARE", float("inf"))
    plain = PtychoModule.training_loss

    def run(*, until=None, planted=lambda _: 1.0, folder=None, changes=None, clip=None):
        execution = {} if clip is None else {"clip": clip}
        run = run_of(training={"epochs": EPOCHS, **(changes or {})}, execution=execution)
        calls = []

        def counted(self, batch):
            if len(calls) == until:
                raise Killed
            calls.append(1)
            return plain(self, batch) * planted(len(calls))

        monkeypatch.setattr(PtychoModule, "training_loss", counted)
        module = PtychoModule(run, tiny_data)
        folder = None if folder is None else tmp_path / folder
        return fit(module, tiny_data.train, tiny_data.validation, folder=folder), len(calls)

    return run


def epochs_in(path):
    return torch.load(path, weights_only=True)["epoch"] + 1 if path.exists() else 0


def same(one, other):
    """Compare everything that results are made of, bit by bit."""
    for weights, others in ((one.best, other.best), (one.last, other.last)):
        assert weights.weights.keys() == others.weights.keys()
        assert all(torch.equal(v, others.weights[k]) for k, v in weights.weights.items())
        assert weights.gain == others.gain
    mine, theirs = one.module, other.module
    for name in ("rows", "best_row", "norms_before", "parts", "clipped"):
        assert getattr(mine.history, name) == getattr(theirs.history, name), name
    for name in ("failure", "steps", "first_loss", "spikes"):
        assert getattr(mine.monitor, name) == getattr(theirs.monitor, name), name
    return True


@pytest.mark.parametrize("name", CASES)
def test_a_stopped_training_ends_with_the_same_bytes(training, tmp_path, name):
    """Stopped twice at random steps."""
    changes, clip = CASES[name]
    case = {"changes": changes, "clip": clip}
    whole, _ = training(**case)
    stops = named_stream(7, "stops", name).integers(1, EPOCHS * STEPS, 2)
    state = tmp_path / "run" / CHECKPOINT
    state.parent.mkdir()
    for until in sorted(stops):
        before = epochs_in(state)
        with pytest.raises(Killed):
            training(**case, folder="run", until=until - before * STEPS)
    done = epochs_in(state)
    assert done == max(stops) // STEPS
    found, steps = training(**case, folder="run")
    assert steps == (EPOCHS - done) * STEPS
    # An attempt that finished no epoch leaves nothing, not even that it was.
    assert found.attempts == 1 + len({stop // STEPS for stop in stops} - {0})
    assert same(found, whole)
    if "plateau" in name:
        assert len({row["learning_rate"] for row in found.module.history.rows}) > 1


def test_spikes_and_collapse_are_counted_across_a_stop(training, tmp_path):
    """Steps 13 to 22 are too large; an epoch ends after the 15th, and the run with the 10th."""

    def planted(step):
        return 1e3 if step >= 13 else 1.0

    (tmp_path / "run").mkdir()
    whole, _ = training(planted=planted)
    failure = whole.module.monitor.failure
    assert (failure.outcome, failure.step, whole.module.monitor.spikes) == ("exploded", 13, 10)
    with pytest.raises(Killed):
        training(planted=planted, folder="run", until=18)
    found, _ = training(planted=lambda _: 1e3, folder="run")
    assert same(found, whole)
    # Every patch is under this bound: the third epoch in a row ends the run.
    flat = {"changes": {"collapse_variance": 0.9}}
    whole, _ = training(**flat)
    assert whole.module.monitor.failure.outcome == "collapsed"
    assert len(whole.module.history.rows) == 3
    (tmp_path / "run" / CHECKPOINT).unlink()
    with pytest.raises(Killed):
        training(**flat, folder="run", until=2 * STEPS + 3)
    found, _ = training(**flat, folder="run")
    assert same(found, whole)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "is no whole checkpoint"),
        (lambda path: path.write_bytes(b"another program's"), "is no whole checkpoint"),
        (lambda path: torch.save({"weights": 1}, path), "is no whole checkpoint"),
        (lambda path: torch.save(print, path), "is no whole checkpoint"),
        (None, r"is of another training \(settings differ\)"),
    ],
)
def test_a_checkpoint_that_is_not_this_trainings_is_one_line(
    training, tmp_path, caplog, spoil, message
):
    """Cut, foreign, of another program, with code in it, and of other settings: none is executed,
    and the training is the undisturbed one."""
    (tmp_path / "run").mkdir()
    whole, _ = training()
    with pytest.raises(Killed):
        training(folder="run", until=20, changes={} if spoil else {"loss": "poisson"})
    if spoil:
        spoil(tmp_path / "run" / CHECKPOINT)
    found, steps = training(folder="run")
    (text,) = [r.message for r in caplog.records if "training starts anew" in r.message]
    assert re.search(message, text) and "\n" not in text
    assert steps == EPOCHS * STEPS and same(found, whole)


def test_a_full_disk_costs_the_checkpoint_and_not_the_training(
    training, tmp_path, caplog, monkeypatch
):
    """Also where processes share the run: no error leaves the writing, where the others wait."""

    def full(state, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "run").mkdir()
    whole, _ = training()
    monkeypatch.setattr(checkpoint.torch, "save", full)
    found, _ = training(folder="run")
    assert same(found, whole) and not list((tmp_path / "run").iterdir())
    text = {r.message for r in caplog.records if "no checkpoint was written" in r.message}
    assert len(text) == 1 and "No space left on device; make room" in text.pop()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_training_with_its_status_and_nothing_lost(
    training, tmp_path, number, status
):
    def planted(step):
        if step == 2 * STEPS + 5:
            signal.raise_signal(number)
        return 1.0

    (tmp_path / "run").mkdir()
    whole, _ = training()
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended:
        training(planted=planted, folder="run")
    assert ended.value.code == status and signal.getsignal(number) is before
    found, steps = training(folder="run")
    assert steps == (EPOCHS - 2) * STEPS and same(found, whole)


def test_a_process_ended_by_signals_gives_the_undisturbed_files(
    train_tiny, run_of, child, tmp_path
):
    """`make faults` does the same with whole studies, many times."""
    blocks = {"training": {"epochs": 8, "schedule": {"name": "exponential", "gamma": 0.95}}}
    whole = train_tiny(arm="agc", folder="whole", **blocks)
    state = tmp_path / "cut" / CHECKPOINT
    waits = named_stream(11, "moments").uniform(0.0, 0.3, 2)
    for number, wait_s in zip((signal.SIGKILL, signal.SIGTERM), waits, strict=True):
        before = state.stat().st_mtime_ns if state.exists() else 0
        process = child(run_of("agc", **blocks), "cut")
        end = time.monotonic() + 120
        while not (state.exists() and state.stat().st_mtime_ns > before):
            assert process.poll() is None and time.monotonic() < end, process.communicate()[1]
            time.sleep(0.01)
        time.sleep(wait_s)
        process.send_signal(number)
        # It may have ended just before.
        expected = {signal.SIGKILL: -9, signal.SIGTERM: 143}[number]
        message = process.communicate(timeout=60)[1]
        assert process.returncode in (expected, 0), message
        assert (tmp_path / "cut/run.json").exists() == (process.returncode == 0)
    cut = train_tiny(arm="agc", folder="cut", **blocks)
    for name in set(cut.outputs) - {"timing"}:
        assert cut.outputs[name].read_bytes() == whole.outputs[name].read_bytes(), name
    assert cut.timing["attempts"] > 1
    assert {p.name for p in cut.folder.iterdir()} == {p.name for p in whole.folder.iterdir()}
