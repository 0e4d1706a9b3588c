"""The checkpoint on disk, from which a training that was stopped resumes.

After an epoch the Trainer's whole state is written, if the last writing was long enough ago. Only
the very same training resumes from it: settings, data, code, torch and kind of device. Then a CPU
gives the same bytes as without the stop.
"""

import hashlib
import json
import logging
import pickle
import time
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Checkpoint

from ptycho_torch.data.batch import Groups
from ptycho_torch.files import io
from ptycho_torch.runtime.code_digest import digest_of_code
from ptycho_torch.runtime.disk import remove_leftovers
from ptycho_torch.train.module import PtychoModule

logger = logging.getLogger(__name__)

CHECKPOINT = "resume.ckpt"
"""The file's name, in the folder of the run."""

SHARE = 0.2
"""At most about this share of a training's time goes into writing its checkpoints.

Every epoch's is written where an epoch takes five times as long as that, which only networks of
many weights on small data or a fast GPU do not. Being stopped costs the epoch at work, and five
such times at most.
"""

_NOT_WHOLE = (
    *(OSError, EOFError, RuntimeError, LookupError, TypeError, ValueError),
    pickle.UnpicklingError,
)

CODE = ("config", "data", "files", "networks", "physics", "runtime", "train")
"""Folders of the package whose code decides what a training gives."""


class ResumeCheckpoint(Checkpoint):
    """Writes the state of a training at the end of epochs, and resumes from it.

    Parameters
    ----------
    folder
        Where the file lies.
    identity
        What a training must share with the checkpoint that it resumes from (`identity_of`).

    Attributes
    ----------
    attempts
        How often the training was begun or resumed, this time included; an attempt that left no
        checkpoint is not known.
    """

    def __init__(self, folder: Path, identity: dict[str, str]) -> None:
        self.path = folder / CHECKPOINT
        self.identity = identity
        self.attempts = 1
        self._earlier_s = self._cost_s = 0.0
        self._began = self._written = time.monotonic()

    @property
    def wall_s(self) -> float:
        """Seconds of training over all attempts; of those that were killed, what was saved."""
        return self._earlier_s + time.monotonic() - self._began

    def found(self) -> Path | None:
        """Return the file if the training can resume from it; why not is logged in one line."""
        remove_leftovers(self.path)
        if not self.path.exists():
            return None
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            theirs, epoch = state["callbacks"][self.state_key], state["epoch"] + 1
            other = [key for key in self.identity if theirs["identity"][key] != self.identity[key]]
        except _NOT_WHOLE as error:
            what = type(error).__name__
            logger.warning("%s: is no whole checkpoint (%s); training starts anew", self.path, what)
            return None
        if other:
            what = ", ".join(other)
            logger.warning(
                "%s: is of another training (%s differ); training starts anew", self.path, what
            )
            return None
        logger.info("%s: resumed after epoch %d", self.path, epoch)
        if theirs["machine"] != _machine():
            logger.warning(
                "%s: was written with %s, resumes with %s: results may differ by rounding",
                self.path, theirs["machine"], _machine(),
            )  # fmt: skip
        return self.path

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write the state, if the last writing was long enough ago; without room on the disk the
        training continues, and could not be resumed."""
        began = time.monotonic()
        due = began - self._written >= self._cost_s / SHARE
        # Of several processes the first decides and writes.
        if pl_module.monitor.failure or not trainer.strategy.broadcast(due):
            return
        first = trainer.is_global_zero
        try:
            with io.atomic_write(self.path) if first else nullcontext(self.path) as part:
                trainer.save_checkpoint(part)
        except OSError as error:
            logger.warning("%s: cannot be written: %s; training continues", self.path, error)
        self._written = time.monotonic()
        self._cost_s = self._written - began

    def state_dict(self) -> dict[str, Any]:
        """Return what belongs to the training rather than to its state."""
        counts = {"attempts": self.attempts, "wall_s": self.wall_s}
        return {**counts, "identity": self.identity, "machine": _machine()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the counts."""
        self.attempts, self._earlier_s = state_dict["attempts"] + 1, state_dict["wall_s"]


def identity_of(
    module: PtychoModule, train: Groups, validation: Groups, device: torch.device
) -> dict[str, str]:
    """Return what decides the bytes that a training gives, as far as it can be known before."""
    digest = hashlib.sha256()
    tensors = [getattr(groups, f.name) for groups in (train, validation) for f in fields(Groups)]
    for tensor in (*tensors, module.probe_MHW):
        if tensor is not None:
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().numpy().data)
    return {
        "settings": json.dumps(module.run.model_dump(mode="json")),
        "data": digest.hexdigest(),
        "scales": f"{module.scales} {module.input_scale!r}",
        "code": digest_of_code(*CODE),
        "torch": str(torch.__version__),
        "device": device.type,
    }


def _machine() -> str:
    threads = torch.get_num_threads()
    return f"{threads} CPU threads, {torch.backends.cpu.get_cpu_capability()}"
