"""A training that was stopped resumes after its last epoch and ends with the same bytes.

`make faults` does the same with processes of whole studies, many times.
"""

import signal

import numpy as np
import pytest
import torch

from ptycho_torch.train import checkpoint
from ptycho_torch.train.checkpoint import CHECKPOINT
from ptycho_torch.train.fit import fit
from ptycho_torch.train.module import PtychoModule

EPOCHS, STEPS = 4, 15
WHOLE = EPOCHS * STEPS
# Name -> settings; before which steps it is stopped; the step after which it ends.
CASES = {
    "AdamW, cosine, learned scale, norm": (
        {"optimizer": {"name": "adamw", "learning_rate": 2e-3, "weight_decay": 0.01},
         "schedule": {"name": "warmup_cosine", "warmup_epochs": 1.5}, "intensity_scale": "learned",
         "clip": {"gradient_clip_algorithm": "norm", "max_norm": 0.5}},
        (16, 31), WHOLE,
    ),
    "SGD, exponential, agc": (
        {"optimizer": {"name": "sgd", "learning_rate": 1e-2},
         "schedule": {"name": "exponential", "gamma": 0.7},
         "clip": {"gradient_clip_algorithm": "agc", "max_ratio": 0.02}},
        (22, 28), WHOLE,
    ),
    # A rate this large makes the loss rise, so that the plateau is met.
    "plateau, poisson, value": (
        {"optimizer": {"name": "adam", "learning_rate": 0.03}, "loss": "poisson",
         "schedule": {"name": "plateau", "factor": 0.5, "patience_epochs": 1},
         "collapse_variance": None,
         "clip": {"gradient_clip_algorithm": "value", "max_value": 0.01}},
        (47, 60), WHOLE,
    ),
    "exploded": ({"loud": 13}, (18,), 30),
    "collapsed": ({"collapse_variance": 0.9}, (33,), 45),
}  # fmt: skip


class Killed(BaseException):
    """Stands for whatever ends a process in the middle of a step."""


@pytest.fixture
def training(run_of, tiny_data, tmp_path, monkeypatch):
    """Train; before the step `until` (counted from 1) it is killed, or `act` is called. From the
    step `loud` on losses are too large. Returns the result and how many steps were taken."""
    monkeypatch.setattr(checkpoint, "SHARE", float("inf"))
    plain = PtychoModule.training_loss

    def die():
        raise Killed

    def run(*, until=None, act=die, folder=None, loud=None, clip=None, **changes):
        execution = {} if clip is None else {"clip": clip}
        run = run_of(training={"epochs": EPOCHS, **changes}, execution=execution)
        steps = []

        def planted(self, batch):
            steps.append(self.current_epoch * STEPS + self.trainer.fit_loop.batch_idx + 1)
            if steps[-1] == until:
                act()
            return plain(self, batch) * (1e3 if loud and steps[-1] >= loud else 1)

        monkeypatch.setattr(PtychoModule, "training_loss", planted)
        if folder is not None:
            folder = tmp_path / folder
            folder.mkdir(exist_ok=True)
        module = PtychoModule(run, tiny_data)
        return fit(module, tiny_data.train, tiny_data.validation, folder=folder), len(steps)

    return run


def course(result):
    """Return everything that results are made of, to be compared bit by bit."""
    history, monitor = result.module.history, result.module.monitor
    weights = (result.best.weights, result.last.weights)
    return [
        *({k: v.numpy().tobytes() for k, v in of.items()} for of in weights),
        *(result.best.gain, result.last.gain),
        history.rows,
        *(monitor.failure, np.array(monitor.rows).tobytes()),
    ]


@pytest.mark.parametrize("name", CASES)
def test_a_stopped_training_ends_with_the_same_bytes(training, tmp_path, name):
    settings, stops, end = CASES[name]
    whole, _ = training(**settings)
    done = 0
    for stop in stops:
        with pytest.raises(Killed):
            training(**settings, folder="run", until=stop)
        done = (stop - 1) // STEPS
        paths = (tmp_path / "run").glob(CHECKPOINT)
        epochs = [torch.load(path, weights_only=True)["epoch"] + 1 for path in paths]
        assert epochs == [done] * (done > 0)
    found, steps = training(**settings, folder="run")
    assert steps == end - done * STEPS
    assert course(found) == course(whole)
    failure = whole.module.monitor.failure
    assert (failure.outcome if failure else "completed") == (name if end < WHOLE else "completed")
    if "plateau" in name:
        assert len({row["learning_rate"] for row in found.module.history.rows}) > 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        lambda path: torch.save({"weights": 1}, path),
        lambda path: torch.save(print, path),
    ],
)
def test_a_file_that_is_no_whole_checkpoint_is_one_line(training, tmp_path, caplog, spoil):
    """Cut, of another program, with code in it: none is executed."""
    with pytest.raises(Killed):
        training(folder="run", until=20)
    (state,) = (tmp_path / "run").glob(CHECKPOINT)
    spoil(state)
    _, steps = training(folder="run")
    (text,) = [r.message for r in caplog.records if "is no whole checkpoint" in r.message]
    assert text.endswith("; not used") and "\n" not in text
    assert steps == WHOLE


def test_another_training_never_resumes_from_it_and_takes_nothing_from_it(training, caplog):
    with pytest.raises(Killed):
        training(folder="run", until=STEPS + 5)
    _, steps = training(folder="run", loss="poisson")
    assert "is of another training (other settings" in caplog.text
    assert steps == WHOLE
    _, steps = training(folder="run")
    assert steps == WHOLE - STEPS


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_training_with_its_status_and_nothing_lost(training, number, status):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended:
        training(folder="run", until=2 * STEPS + 5, act=lambda: signal.raise_signal(number))
    assert ended.value.code == status and signal.getsignal(number) is before
    found, steps = training(folder="run")
    assert steps == WHOLE - 2 * STEPS and course(found) == course(training()[0])
