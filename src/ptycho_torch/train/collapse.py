"""The guard against collapse: a network whose patches have lost their structure ends its run.

Watched are the patches that the network draws for the validation split, before any physics, where
the probe lights them: in the dark a network may draw what it likes, and the padding of its
convolutions draws borders there whatever it sees. docs/parity.md has the margins.

Letters: B batch, C patches of a group, M probe modes, H rows, W columns.
"""

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ptycho_torch.config.training import TrainingSettings
from ptycho_torch.train.watch import RunStopped

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


class CollapseGuard:
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
        self.largest: Tensor | None = None
        self._in_a_row: list[dict[str, int]] = []

    def state(self) -> dict[str, Any]:
        """Return the epochs without structure that are in a row so far."""
        return {"in_a_row": [dict(epoch) for epoch in self._in_a_row]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self._in_a_row = list(state["in_a_row"])

    @contextlib.contextmanager
    def watching(self, network: nn.Module, probe_MHW: Tensor) -> Iterator[None]:
        """Watch what the network draws within the block; nothing waits for the device."""
        self.largest = None
        if self.threshold is None:
            yield
            return

        def watch(_: nn.Module, __: object, patches_BCHW: Tensor) -> None:
            found = lit_variance(patches_BCHW, probe_MHW).max()
            self.largest = found if self.largest is None else found.maximum(self.largest)

        hook = network.register_forward_hook(watch)
        try:
            yield
        finally:
            hook.remove()

    def end_epoch(self, *, epoch: int, step: int) -> RunStopped | None:
        """Count epochs without structure; from the first of them the run ends if they are too
        many in a row."""
        largest = math.nan if self.largest is None else float(self.largest)
        # NaN is the business of the losses' own guard.
        if self.threshold is None or not largest < self.threshold:
            self._in_a_row = []
            return None
        self._in_a_row.append({"epoch": epoch, "step": step})
        logger.warning(
            "epoch %d: all patches are nearly constant (relative variance at most %.3g, under "
            "collapse_variance %.3g), %d of %d epochs in a row",
            epoch, largest, self.threshold, len(self._in_a_row), self.patience,
        )  # fmt: skip
        if len(self._in_a_row) < self.patience:
            return None
        return RunStopped(
            "collapsed",
            reason=f"all patches of the validation split are nearly constant: relative variance in "
            f"the probe's light at most {largest:.3g}, under collapse_variance "
            f"{self.threshold:g}, for {self.patience} epochs in a row",
            **self._in_a_row[0],
        )
