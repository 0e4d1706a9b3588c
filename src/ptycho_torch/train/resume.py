"""The state of a training on disk, from which a training that was stopped goes on.

After an epoch everything that the rest of the training depends on is written into one file, if the
last writing was long enough ago. A state is taken up only by the very same training: settings,
data, code, torch and kind of device. Then a CPU gives the same bytes as without the stop.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ptycho_torch.data.batch import Groups
from ptycho_torch.files import io
from ptycho_torch.files.state import digest_of_tensors, read_state, write_state
from ptycho_torch.runtime.code_digest import digest_of_code
from ptycho_torch.runtime.errors import InputError, printable
from ptycho_torch.train.kept import must_be_whole
from ptycho_torch.train.learner import Learner
from ptycho_torch.train.module import FitModule

logger = logging.getLogger(__name__)

STATE = "resume.safetensors"
"""The file's name, in the folder of the run, or of the first of those trained together."""

SHARE = 0.2
"""At most about this share of a training's time goes into writing its states.

Every epoch's state is written where an epoch takes five times as long as that, which only networks
of many weights on small data or a fast GPU do not. Then SIGKILL costs five such times at most.
"""

FORMAT = "ptycho-torch training state 1"
CODE = ("config", "data", "files", "networks", "physics", "runtime", "train")
"""Folders of the package whose code decides what a training gives."""


class Keeper:
    """Writes the state of learners that are trained together, and gives it back to them.

    Parameters
    ----------
    path
        The file; None: nothing is kept.
    identity
        What the training must share with the state that it takes up (`identity_of`).

    Attributes
    ----------
    epochs
        Finished epochs that the state had.
    sittings
        How often the training was begun or taken up, this time included; a sitting that left no
        state is not known.
    """

    def __init__(self, path: io.PathLike | None, identity: Mapping[str, Any]) -> None:
        self.path = None if path is None else Path(path)
        self.epochs = 0
        self.sittings = 1
        self._identity = dict(identity)
        self._earlier_s = 0.0
        self._began = self._written = time.monotonic()
        self._cost_s = 0.0
        self._state: dict[str, Any] | None = None

    @property
    def wall_s(self) -> float:
        """Seconds of training over all sittings; of those that were killed, what was kept."""
        return self._earlier_s + time.monotonic() - self._began

    def take_up(self, learners: Sequence[Learner]) -> None:
        """Give learners, as they are before training, the state on disk, if it is theirs.

        A damaged state or another training's is said and left: training begins anew.
        """
        if self.path is None or not self.path.exists():
            return
        try:
            state = read_state(self.path)
            self._must_be_mine(state, learners)
        except InputError as error:
            logger.warning("%s; training begins anew", error)
            return
        for number, one in enumerate(learners):
            one.load_state(state["learners"][str(number)])
        self.epochs, self.sittings = state["epochs"], state["sittings"] + 1
        self._earlier_s = state["wall_s"]
        logger.info(
            "%s: taken up after epoch %d (sitting %d)", self.path, self.epochs, self.sittings
        )
        if state["machine"] != _machine():
            logger.warning(
                "%s: was written with %s, goes on with %s: results may differ by rounding",
                self.path, printable(state["machine"]), _machine(),
            )  # fmt: skip

    def end_epoch(self, learners: Sequence[Learner], epochs: int) -> None:
        """Keep the state after an epoch, on disk if the last writing was long enough ago."""
        if self.path is None:
            return
        self._state = {
            "format": FORMAT,
            "identity": self._identity,
            "machine": _machine(),
            "epochs": epochs,
            "sittings": self.sittings,
            "wall_s": self.wall_s,
            "learners": {str(number): one.state() for number, one in enumerate(learners)},
        }
        if time.monotonic() - self._written >= self._cost_s / SHARE:
            self._write()

    def end_early(self, reason: str) -> None:
        """Write the state of the last finished epoch, unless that was done, and say so."""
        if self._state is not None:
            self._write()
        kept = self.path is not None and self.path.exists()
        where = f"the state after the last epoch is in {self.path}" if kept else "no epoch was kept"
        logger.warning("training ends here: %s; %s; the same command goes on", reason, where)

    def _write(self) -> None:
        assert self.path is not None and self._state is not None
        began = time.monotonic()
        try:
            write_state(self.path, self._state)
        except (InputError, OSError) as error:
            # The results may still find room: what is lost is that the training could go on.
            logger.warning("%s; training goes on without", error)
        self._state = None
        self._written = time.monotonic()
        self._cost_s = self._written - began

    def _must_be_mine(self, state: Mapping[str, Any], learners: Sequence[Learner]) -> None:
        if state.get("format") != FORMAT:
            found = printable(repr(state.get("format")))
            raise InputError(f"{self.path}: format is {found}, expected {FORMAT!r}")
        identity = state.get("identity")
        theirs = identity if isinstance(identity, dict) else {}
        other = [key for key, value in self._identity.items() if theirs.get(key) != value]
        if other:
            raise InputError(f"{self.path}: is of another training ({', '.join(other)} differ)")
        # Before any of it is taken up: half a state is worse than none.
        try:
            must_be_whole(state)
            if list(state["learners"]) != [str(number) for number in range(len(learners))]:
                raise ValueError(f"learners: has {len(state['learners'])}, not {len(learners)}")
            for number, one in enumerate(learners):
                kept = state["learners"][str(number)]
                one.must_fit(kept)
                # A run that failed has no more epochs; the others have all that were finished.
                if not kept["stopped"] and len(kept["history"]["rows"]) != state["epochs"]:
                    raise ValueError(f"learner {number} has not {state['epochs']} epochs")
        except ValueError as error:
            raise InputError(f"{self.path}: is no state of this program's ({error})") from None


def identity_of(
    modules: Sequence[FitModule], train: Groups, validation: Groups, device: torch.device
) -> dict[str, Any]:
    """Return what decides the bytes that a training gives, as far as it can be known before."""
    tensors = {"probe": modules[0].probe_MHW}
    for name, groups in (("train", train), ("validation", validation)):
        fields = {
            "amplitude": groups.amplitude_nCHW,
            "whole": groups.whole_nC2,
            "fraction": groups.fraction_nC2,
            "good": groups.good_nCHW,
        }
        tensors |= {f"{name}.{key}": value for key, value in fields.items() if value is not None}
    return {
        "settings": [module.run.model_dump(mode="json") for module in modules],
        "data": digest_of_tensors(tensors),
        "scales": f"{modules[0].scales} {modules[0].input_scale!r}",
        "code": digest_of_code(*CODE),
        "torch": torch.__version__,
        "device": device.type,
    }


def _machine() -> str:
    threads = torch.get_num_threads()
    return f"{threads} CPU threads, {torch.backends.cpu.get_cpu_capability()}"
