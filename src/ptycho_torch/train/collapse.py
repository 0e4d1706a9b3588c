"""The guard against collapse: a network whose patches have lost their structure ends its run.

Watched are the patches that the network draws for the validation split, before any physics, where
the probe lights them: in the dark a network may draw what it likes, and the padding of its
convolutions draws borders there whatever it sees. docs/parity.md has the margins.

Letters: B batch, C patches of a group, M probe modes, H rows, W columns.
"""

import logging
import math
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from ptycho_torch.config.training import TrainingSettings
from ptycho_torch.train.module import FitModule, RunStopped

logger = logging.getLogger(__name__)


def lit_variance(patches_BCHW: Tensor, probe_MHW: Tensor) -> Tensor:
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
    light = torch.view_as_real(probe_MHW).square().sum(dim=(0, -1))
    weight_HW = light / light.sum()
    pixels = (-2, -1)
    mean = (patches_BCHW * weight_HW).sum(dim=pixels, keepdim=True)
    spread = (_square(patches_BCHW - mean) * weight_HW).sum(dim=pixels)
    power = (_square(patches_BCHW) * weight_HW).sum(dim=pixels)
    return torch.where(power > 0, spread / power, torch.zeros_like(power))


def _square(values: Tensor) -> Tensor:
    return torch.view_as_real(values).square().sum(dim=-1)


class CollapseGuard(pl.Callback):
    """Ends a run as `collapsed` if no patch has structure, for some epochs in a row.

    Parameters
    ----------
    training
        `collapse_variance`: every patch must be under it; None: the guard is off.
        `collapse_patience_epochs`: so many epochs in a row.
    """

    def __init__(self, training: TrainingSettings) -> None:
        self.threshold = training.collapse_variance
        self.patience = training.collapse_patience_epochs
        self.largest = -math.inf
        self._hook: Any = None
        self._in_a_row: list[dict[str, int]] = []

    def on_validation_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Begin to watch what the network draws."""
        assert isinstance(module, FitModule)
        self.largest = -math.inf
        if self.threshold is None:
            return
        probe = module.probe_MHW

        def watch(_: nn.Module, __: Any, patches_BCHW: Tensor) -> None:
            found = lit_variance(patches_BCHW, probe).max()
            # NaN compares as nothing, so it must be carried on by hand.
            value = float(found)
            self.largest = value if math.isnan(value) else max(self.largest, value)

        self._hook = module.network.register_forward_hook(watch)

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Stop watching; training itself is not touched."""
        self._unhook()

    def on_exception(
        self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Leave no hook behind in a run that ends otherwise."""
        self._unhook()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Count epochs without structure; end the run where there are too many.

        Raises
        ------
        RunStopped
            From the first of the epochs in a row.
        """
        # NaN is the business of the losses' own guard.
        if self.threshold is None or not self.largest < self.threshold:
            self._in_a_row = []
            return
        self._in_a_row.append({"epoch": trainer.current_epoch + 1, "step": trainer.global_step})
        logger.warning(
            "epoch %d: all patches are nearly constant (relative variance at most %.3g, under "
            "collapse_variance %.3g), %d of %d epochs in a row",
            trainer.current_epoch + 1, self.largest, self.threshold, len(self._in_a_row),
            self.patience,
        )  # fmt: skip
        if len(self._in_a_row) < self.patience:
            return
        raise RunStopped(
            "collapsed",
            reason=f"all patches of the validation split are nearly constant: relative variance in "
            f"the probe's light at most {self.largest:.3g}, under collapse_variance "
            f"{self.threshold:g}, for {self.patience} epochs in a row",
            **self._in_a_row[0],
        )

    def _unhook(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
