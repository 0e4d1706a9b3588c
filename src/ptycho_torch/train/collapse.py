"""The guard against collapse: a network whose patches have lost their structure ends its run.

Watched are the patches that the network draws for the validation split, before any physics, where
the probe illuminates them: in the dark a network may draw what it likes, and the padding of its
convolutions draws borders there whatever it sees. docs/own-data.md has the margins.

Letters: B batch, C patches of a group, M probe modes, H rows, W columns.
"""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ptycho_torch.config.training import TrainingSettings
from ptycho_torch.train.divergence import DivergenceMonitor

logger = logging.getLogger(__name__)


def illuminated_variance(patches_BCHW: Tensor, probe_MHW: Tensor) -> Tensor:
    """Return each patch's variance about its mean over its mean square, in the light, (B, C).

    Pixels count by the probe's intensity. The patches are complex, so that a global phase changes
    nothing and structure in the phase alone counts. From 0, constant, to 1; a patch that is zero
    everywhere has no structure, 0.

    Raises
    ------
    ValueError
        If patches and probe differ in frame size.
    """
    if patches_BCHW.shape[-2:] != probe_MHW.shape[-2:]:
        raise ValueError(
            f"patches are {tuple(patches_BCHW.shape[-2:])} px, the probe is "
            f"{tuple(probe_MHW.shape[-2:])} px"
        )
    light_HW = _square(probe_MHW).sum(dim=0)
    weight_HW, pixels = light_HW / light_HW.sum(), (-2, -1)
    mean = (patches_BCHW * weight_HW).sum(dim=pixels, keepdim=True)
    spread = (_square(patches_BCHW - mean) * weight_HW).sum(dim=pixels)
    power = (_square(patches_BCHW) * weight_HW).sum(dim=pixels)
    return torch.where(power > 0, spread / power, torch.zeros_like(power))


def _square(values: Tensor) -> Tensor:
    return torch.view_as_real(values).square().sum(dim=-1)


class CollapseGuard(Callback):
    """Ends a run as `collapsed` if no patch has structure, for some epochs in a row.

    Parameters
    ----------
    training
        `collapse_variance`: every patch must be under it; None: the guard is off.
        `collapse_patience_epochs`: so many epochs in a row.
    monitor
        Ends the run, and knows its steps.
    """

    def __init__(self, training: TrainingSettings, monitor: DivergenceMonitor) -> None:
        self.threshold = training.collapse_variance
        self.patience = training.collapse_patience_epochs
        self.monitor = monitor
        self.largest: Tensor | None = None
        self.first_step = self.in_a_row = 0

    def watch(self, patches_BCHW: Tensor, probe_MHW: Tensor) -> None:
        """Look at patches of the validation split; nothing waits for the device."""
        if self.threshold is not None:
            found = illuminated_variance(patches_BCHW, probe_MHW).max()
            self.largest = found if self.largest is None else found.maximum(self.largest)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the epoch before."""
        self.largest = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count epochs without structure; the run ends if they are too many in a row, from the
        first of them."""
        if self.monitor.failure is not None or self.threshold is None or self.largest is None:
            return
        largest = float(self.largest)
        # NaN is the business of the losses' own guard.
        if not largest < self.threshold:
            self.in_a_row = 0
            return
        self.in_a_row += 1
        if self.in_a_row == 1:
            self.first_step = self.monitor.steps
        found = (
            f"all patches of the validation split are nearly constant: relative variance where the "
            f"probe illuminates them at most {largest:.3g}, under collapse_variance "
            f"{self.threshold:g}"
        )
        logger.warning("%s, %d of %d epochs in a row", found, self.in_a_row, self.patience)
        if self.in_a_row == self.patience:
            reason = f"{found}, for {self.patience} epochs in a row"
            self.monitor.end_run(trainer, "collapsed", reason, self.first_step)

    def state_dict(self) -> dict[str, Any]:
        """Return the epochs without structure so far."""
        return {"first_step": self.first_step, "in_a_row": self.in_a_row}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Resume from what `state_dict` returned."""
        vars(self).update(state_dict)
