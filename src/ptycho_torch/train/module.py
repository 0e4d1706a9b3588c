"""The Lightning module: one step's physics, its clipping, and the guard against bad steps.

Letters: B batch, C patches of a group, H rows, W columns, M probe modes.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ptycho_torch.config import RunSettings
from ptycho_torch.generators.probing import fourier_blocks, gradient_ratio
from ptycho_torch.measurements.batch import Batch
from ptycho_torch.physics.forward import amplitudes
from ptycho_torch.physics.groups import group_amplitudes
from ptycho_torch.physics.scales import LOSSES, SplitScales
from ptycho_torch.train.clip import clip_gradients, unit_axes
from ptycho_torch.train.schedule import make_optimizer, make_schedule

_RATIO_EVERY = 8
"""Steps of an epoch between two looks at the gradients' ratio, which costs some percent of a
step; the first step is looked at."""


class RunStopped(Exception):
    """A run went bad before the optimiser moved: a result, not an error.

    outcome: `non_finite`, `exploded` or `collapsed`; epoch and step count from 1; reason in words.
    """

    def __init__(self, outcome: str, *, epoch: int, step: int, reason: str) -> None:
        super().__init__(f"{outcome} in epoch {epoch}, step {step}: {reason}")
        self.outcome = outcome
        self.failure = {"epoch": epoch, "step": step, "reason": reason}


@dataclass(slots=True)
class StepRecords:
    """What each optimiser step of an epoch had: loss, gradient norms, clipped parts."""

    losses: list[float] = field(default_factory=list)
    norms_before: list[float] = field(default_factory=list)
    norms_after: list[float] = field(default_factory=list)
    gradient_ratios: list[float] = field(default_factory=list)
    parts: int = 0
    clipped: int = 0
    learning_rate: float = 0.0

    @property
    def clipped_share(self) -> float:
        """Clipped parts over all parts; 0 without clipping."""
        return self.clipped / self.parts if self.parts else 0.0


class FitModule(pl.LightningModule):
    """A generator under training, through the forward model, without labels.

    Parameters
    ----------
    run
        The run's settings.
    network
        The generator.
    probe_MHW
        Probe modes, complex; fixed.
    scales
        `SplitScales` of `train` and `validation`.
    input_scale
        What amplitudes are multiplied by before the network.
    """

    probe_MHW: Tensor
    log_gain: nn.Parameter | None

    def __init__(
        self,
        run: RunSettings,
        network: nn.Module,
        *,
        probe_MHW: Tensor,
        scales: dict[str, SplitScales],
        input_scale: float,
    ) -> None:
        super().__init__()
        self.run = run
        self.network = network
        self.register_buffer("probe_MHW", probe_MHW)
        self.scales = scales
        self.input_scale = input_scale
        self.units = unit_axes(network)
        self.log_gain = None
        if run.training.intensity_scale == "learned":
            self.log_gain = nn.Parameter(torch.zeros(()))
            self.units.append((self.log_gain, None))
        self.blocks = list(fourier_blocks(network).values())
        self.val_loss_name = f"{run.training.loss}_val_loss"
        self.first_loss: float | None = None
        self.records = StepRecords()
        self.spikes = 0
        self._spikes_in_a_row: list[tuple[int, int]] = []
        self._val_sums: dict[str, float] = {}
        self._val_groups = 0

    @property
    def gain(self) -> float:
        """What the measured intensity scale is multiplied by; 1 unless it is learned."""
        return 1.0 if self.log_gain is None else float(self.log_gain.detach().exp())

    @gain.setter
    def gain(self, value: float) -> None:
        if self.log_gain is not None:
            with torch.no_grad():
                self.log_gain.fill_(math.log(value))

    @property
    def merges(self) -> bool:
        """Whether the patches of a group become one region before the physics."""
        return self.run.training.object_big

    def forward(self, amplitude_BCHW: Tensor) -> Tensor:
        """Return object patches, (B, C, H, W), complex, in units of `norm_Y_I`."""
        scaled = amplitude_BCHW * self.input_scale
        patches: Tensor = self.network(
            scaled if self.log_gain is None else scaled / self.log_gain.exp()
        )
        return patches

    def predicted(self, batch: Batch) -> Tensor:
        """Return the amplitudes that the network expects for a batch, (B, C, H, W)."""
        patches = self(batch.amplitude_BCHW)
        if self.merges and batch.whole_BC2 is not None:
            found = group_amplitudes(patches, self.probe_MHW, batch.whole_BC2, batch.fraction_BC2)
        else:
            found = amplitudes(patches, self.probe_MHW)
        return found if self.log_gain is None else found * self.log_gain.exp()

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Return the batch's loss; stop the run if it is not finite or has exploded."""
        loss = self.scales["train"].loss(
            self.run.training.loss, self.predicted(batch), batch.amplitude_BCHW, batch.good_BCHW
        )
        self._guard_loss(float(loss.detach()))
        return loss

    def _guard_loss(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise self._stopped("non_finite", f"the training loss is {loss}")
        if self.first_loss is None:
            self.first_loss = loss
        self._guard_spikes(loss, abs(self.first_loss))
        self.records.losses.append(loss)

    def _guard_spikes(self, loss: float, first: float) -> None:
        training = self.run.training
        if loss <= training.explode_factor * first:
            self._spikes_in_a_row = []
            return
        self.spikes += 1
        self._spikes_in_a_row.append((self.current_epoch + 1, self.global_step + 1))
        if len(self._spikes_in_a_row) < training.explode_patience_steps:
            return
        epoch, step = self._spikes_in_a_row[0]
        raise RunStopped(
            "exploded",
            epoch=epoch,
            step=step,
            reason=f"the training loss is {loss:.4g}, for {training.explode_patience_steps} steps "
            f"in a row more than {training.explode_factor:g} times the first step's {first:.4g}",
        )

    def _stopped(self, outcome: str, reason: str) -> RunStopped:
        return RunStopped(
            outcome, epoch=self.current_epoch + 1, step=self.global_step + 1, reason=reason
        )

    def configure_gradient_clipping(self, optimizer: Optimizer, *_: Any, **__: Any) -> None:
        """Clip by the run's rule, between backward and the optimiser's step."""
        gradients = [p.grad for p, _ in self.units if p.grad is not None]
        before = float(nn.utils.get_total_norm(gradients))
        if not math.isfinite(before):
            raise self._stopped("non_finite", f"the gradient's norm is {before}")
        # Read here, before the schedule moves on: the rate that this step is taken with.
        self.records.learning_rate = optimizer.param_groups[0]["lr"]
        self._record_gradient_ratio()
        report = clip_gradients(self.units, self.run.execution.clip)
        after = float(nn.utils.get_total_norm(gradients)) if report.clipped else before
        self.records.norms_before.append(before)
        self.records.norms_after.append(after)
        self.records.parts += report.parts
        self.records.clipped += report.clipped

    def _record_gradient_ratio(self) -> None:
        """Note spectral over local gradients before clipping, which may change their ratio."""
        if len(self.records.norms_before) % _RATIO_EVERY == 0:
            ratio = gradient_ratio(self.blocks)
            if ratio is not None:
                self.records.gradient_ratios.append(ratio)

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation."""
        self._val_sums = {"mae_val_loss": 0.0, "poisson_val_loss": 0.0}
        self._val_groups = 0

    def validation_step(self, batch: Batch, _: int) -> None:
        """Add a batch to the validation losses, each group with the same weight."""
        predicted, observed = self.predicted(batch), batch.amplitude_BCHW
        for name in LOSSES:
            loss = self.scales["validation"].loss(name, predicted, observed, batch.good_BCHW)
            self._val_sums[f"{name}_val_loss"] += float(loss) * len(observed)
        self._val_groups += len(observed)

    def on_validation_epoch_end(self) -> None:
        """Log the validation losses; stop the run if the one it is judged by is not finite."""
        losses = {name: total / self._val_groups for name, total in self._val_sums.items()}
        self.log_dict(losses)
        judged = losses[self.val_loss_name]
        if not math.isfinite(judged):
            # The epoch's last step has been taken: that is the step that failed.
            step = {"epoch": self.current_epoch + 1, "step": self.global_step}
            raise RunStopped("non_finite", reason=f"the validation loss is {judged}", **step)

    def configure_optimizers(self) -> Any:
        """Return the optimiser and its schedule, which Lightning steps."""
        training = self.run.training
        optimizer = make_optimizer(training.optimizer, self.parameters())
        schedule = make_schedule(
            training.schedule,
            optimizer,
            total_steps=int(self.trainer.estimated_stepping_batches),
            epochs=training.epochs,
            monitor=self.val_loss_name,
        )
        if schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": schedule}
