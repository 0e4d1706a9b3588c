"""A training that is stopped: it ends with the signal's status, and resumes from a checkpoint.

Only the very same training resumes from it: settings, data, code, torch and kind of device. Then a
CPU gives the same bytes as without the stop.
"""

import hashlib
import logging
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from ptycho_torch.data.batch import Batch
from ptycho_torch.files import io
from ptycho_torch.runtime.disk import remove_leftovers
from ptycho_torch.runtime.provenance import PACKAGE, code_behind, listing
from ptycho_torch.train.module import PtychoModule

logger = logging.getLogger(__name__)

CHECKPOINT = "resume-*.ckpt"
"""The files' names, in the folder of the run: each training has its own, so that one that is begun
in between takes nothing from another."""

SHARE = 0.2
"""At most about this share of a training's time goes into writing its checkpoints, after epochs."""


class CheckpointWriter(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write the file; `InputError` if it cannot be written."""
        with io.atomic_write(path) as part:
            torch.save(checkpoint, part)


class ResumeCheckpoint(Checkpoint):
    """Writes the state of a training in its folder (None: nothing), and resumes from it.

    data: groups for training and validation.
    """

    def __init__(
        self, folder: Path | None, module: PtychoModule, data: tuple[Batch, Batch], device: str
    ) -> None:
        self.path: Path | None = None
        if folder is not None:
            identity = _identity(module, data, device)
            self.path = folder / CHECKPOINT.replace("*", identity[:12])
        self._cost_s, self._written = 0.0, time.monotonic()

    def found(self) -> Path | None:
        """Return the file if the training can resume from it; why not is logged in one line."""
        if self.path is None:
            return None
        remove_leftovers(self.path)
        for other in {*self.path.parent.glob(CHECKPOINT)} - {self.path}:
            what = "other settings, data, code, torch or kind of device"
            logger.warning("%s: is of another training (%s); left alone", other, what)
        if not self.path.exists():
            return None
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            epoch = state["epoch"] + 1
        except Exception as error:  # Whatever torch raises at a damaged or foreign file.
            what = type(error).__name__
            logger.warning("%s: is no whole checkpoint (%s); not used", self.path, what)
            return None
        logger.info("%s: resumed after epoch %d", self.path, epoch)
        return self.path

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write the state, if the last writing was long enough ago."""
        if self.path is None or pl_module.monitor.failure:
            return
        began = time.monotonic()
        due = began - self._written >= self._cost_s / SHARE
        # Of several processes the first decides.
        if trainer.strategy.broadcast(due):
            trainer.save_checkpoint(self.path)
            self._written = time.monotonic()
            self._cost_s = self._written - began


def _identity(module: PtychoModule, data: tuple[Batch, Batch], device: str) -> str:
    """Return a digest of what decides the bytes that a training gives, as far as it is known."""
    code = listing(code_behind(Path(__file__).with_name("run.py")), PACKAGE)
    known = (module.scales, module.input_scale, code, str(torch.__version__), device)
    digest = hashlib.sha256(f"{module.run.model_dump_json()} {known}".encode())
    for tensor in (*data[0].tensors, *data[1].tensors, module.probe_MHW):
        if tensor is not None:
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()


class StopOnSignal(Callback):
    """Ends the process between two steps, with status 130 or 143, after SIGINT or SIGTERM.

    Lightning 2.6 would end it with status 0 after SIGTERM (its issue 21623), which Snakemake takes
    for success. Only the main thread can have signals.
    """

    received: signal.Signals | None = None

    def on_train_start(self, *_: Any) -> None:
        """Take the signals over from the Trainer, which puts back at its end what was before."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._note)
            signal.signal(signal.SIGTERM, self._note)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number)
        signal.signal(number, signal.SIG_DFL)

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """End here if a signal has come."""
        if self.received is not None:
            text = "training ends here: %s; the same command resumes it"
            logger.warning(text, self.received.name)
            raise SystemExit(128 + self.received)
