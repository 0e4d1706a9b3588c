"""A training that is asked to end: the checkpoint is on disk, the exit status says what came.

Lightning 2.6 ends a process with status 0 after SIGTERM (its issue 21623), which Snakemake takes
for success. Here it is 143 after SIGTERM and 130 after SIGINT.
"""

import logging
import signal
import threading
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer

logger = logging.getLogger(__name__)


class StopOnSignal(Callback):
    """Notes SIGINT or SIGTERM and ends the process between two steps; a second one ends it at once.

    Beside the main thread signals cannot be had, and are left as they are.
    """

    received: signal.Signals | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals over from the Trainer, which puts back at its end what was before."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._note)
            signal.signal(signal.SIGTERM, self._note)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number)
        signal.signal(number, signal.SIG_DFL)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End here if a signal has come."""
        if self.received is not None:
            name = self.received.name
            logger.warning("training ends here: %s; the same command resumes it", name)
            raise SystemExit(128 + self.received)
