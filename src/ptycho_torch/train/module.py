"""What is trained: a generator seen through the forward model, its losses, and a step of training,
with optimiser and schedule by name.

Letters: B batch, C patches of a group, H rows, W columns, M probe modes.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, assert_never

import torch
from lightning import Callback, LightningModule
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from ptycho_torch.config import training as config
from ptycho_torch.config.generator import imported
from ptycho_torch.config.scan import FitSettings
from ptycho_torch.data.batch import LOSSES, Batch
from ptycho_torch.data.training import TrainingData
from ptycho_torch.networks import build_generator
from ptycho_torch.networks.generators import recompute_parts
from ptycho_torch.networks.layers import fourier_blocks, gradient_moduli
from ptycho_torch.physics.views import group_amplitudes, merged_patches
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.streams import named_seed
from ptycho_torch.train.callbacks import CollapseGuard, DivergenceMonitor, History
from ptycho_torch.train.clip import Clipper, Unit, total_norm, unit_axes
from ptycho_torch.train.device import RecordedStep, records_steps

LOOK_EVERY = 8
"""Steps of an epoch between two looks at the gradients' ratio, which costs percents of a step."""


class Weights(NamedTuple):
    """Weights of a network, on the CPU, and the learned factor of the intensity scale."""

    weights: dict[str, Tensor]
    gain: float


class PtychoModule(LightningModule):
    """A generator under training, through the forward model, without labels.

    Any `lightning.Trainer` trains it; the guards that end a bad run as a result come with it as
    callbacks. Its first weights depend on the run's seed alone. settings: of a run of a study, or
    `FitSettings`, whose defaults train a network. `InputError` if the network cannot be built for
    the data, or groups have no positions to be merged by.
    """

    probe_MHW: Tensor
    log_gain: nn.Parameter | None

    def __init__(self, settings: config.RunSettings | FitSettings, data: TrainingData) -> None:
        super().__init__()
        side = data.train.amplitude_BCHW.shape[-1]
        run = settings.run(side) if isinstance(settings, FitSettings) else settings
        # Clipping by unit and the verdict on a step stand between its gradients and its update.
        self.automatic_optimization = False
        channels = data.train.channels
        self.merges = run.training.object_big and channels > 1
        """Whether the patches of a group become one region before the physics."""
        if self.merges and (data.train.whole_BC2 is None or data.validation.whole_BC2 is None):
            raise InputError(
                f"dataset '{run.dataset}': has groups of {channels} frames but no 'coords_offsets' "
                "and 'coords_nominal' to merge them by; add them, or set training.object_big: false"
            )
        seed, side = named_seed(run.seed, "weights"), run.patch_px
        try:
            network = build_generator(run.generator, channels=channels, patch_px=side, seed=seed)
        except ValueError as error:
            raise InputError(f"arms.{run.arm}.generator: {error}") from None
        self.run, self.network = run, network
        if run.execution.checkpointing:
            recompute_parts(network)
        self.register_buffer("probe_MHW", data.probe_MHW)
        self.scales, self.channels = data.scales, channels
        scaled = run.training.input_scaling == "statistical"
        self.input_scale = data.train.statistical_scale() if scaled else 1.0
        learned = run.training.intensity_scale == "learned"
        self.log_gain = nn.Parameter(torch.zeros(())) if learned else None
        try:
            whole: list[Unit] = [(parameter, None) for parameter in network.parameters()]
            by_unit = isinstance(run.execution.clip, config.AdaptiveClip)
            units = unit_axes(network) if by_unit else whole
            if self.log_gain is not None:
                units.append((self.log_gain, None))
            self.clipper = Clipper(run.execution.clip, units)
        except (TypeError, ValueError) as error:
            raise InputError(f"arms.{run.arm}.execution.clip: {error}") from None
        self.monitor = DivergenceMonitor(run.training)
        self.history = History(self.monitor)
        self.collapse = CollapseGuard(run.training, self.monitor)
        self.learning_rate = run.training.optimizer.learning_rate
        self.val_loss_name = f"{run.training.loss}_val_loss"
        """The validation loss that the run is judged by."""
        self.val_losses: dict[str, float] = {}
        self._validated: list[tuple[int, dict[str, Tensor]]] = []

    @property
    def gain(self) -> float:
        """What the measured intensity scale is multiplied by; 1 unless it is learned."""
        return 1.0 if self.log_gain is None else float(self.log_gain.detach().exp())

    def snapshot(self) -> Weights:
        """Return a copy of the weights, contiguous as safetensors wants them."""
        copies = {
            name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, value in self.network.state_dict().items()
        }
        return Weights(copies, self.gain)

    def restore(self, weights: Weights) -> None:
        """Take the weights of a `snapshot`."""
        self.network.load_state_dict(weights.weights)
        if self.log_gain is not None:
            with torch.no_grad():
                self.log_gain.fill_(math.log(weights.gain))

    def forward(self, amplitude_BCHW: Tensor) -> Tensor:
        """Return object patches, (B, C, H, W), complex, in units of `norm_Y_I`; in training the
        network runs in bfloat16 where that is requested, but its spectra never do."""
        reduced = self.training and self.run.execution.precision == "bf16"
        seen = amplitude_BCHW * self.input_scale
        seen = seen if self.log_gain is None else seen / self.log_gain.exp()
        with torch.autocast(self.probe_MHW.device.type, torch.bfloat16, enabled=reduced):
            patches: Tensor = self.network(seen)
        return patches

    def predict_amplitudes(self, patches_BCHW: Tensor, batch: Batch) -> Tensor:
        """Return the amplitudes that object patches let expect for a batch, (B, C, H, W)."""
        whole = batch.whole_BC2 if self.merges else None
        found = group_amplitudes(patches_BCHW, self.probe_MHW, whole, batch.fraction_BC2)
        return found if self.log_gain is None else found * self.log_gain.exp()

    def training_loss(self, batch: Batch) -> Tensor:
        """Return the loss of a batch of the training split, by the run's choice."""
        observed, loss = batch.amplitude_BCHW, self.run.training.loss
        predicted = self.predict_amplitudes(self(observed), batch)
        return self.scales["train"].loss(loss, predicted, observed, batch.good_BCHW)

    def validation_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return every loss of a batch of the validation split, by its name in `history.csv`."""
        observed, good, scales = batch.amplitude_BCHW, batch.good_BCHW, self.scales["validation"]
        patches_BCHW = self(observed)
        self.collapse.watch(patches_BCHW, self.probe_MHW)
        predicted = self.predict_amplitudes(patches_BCHW, batch)
        return {f"{n}_val_loss": scales.loss(n, predicted, observed, good) for n in LOSSES}

    def configure_callbacks(self) -> list[Callback]:
        """Return the guards and the history; they look at an epoch in this order."""
        return [self.monitor, self.history, self.collapse]

    def configure_optimizers(self) -> tuple[list[Any], list[Any]]:
        """Return the optimiser, which skips bad steps by itself, and the schedule if any."""
        training, trainer = self.run.training, self.trainer
        alone, execution = trainer.world_size == 1, self.run.execution
        self._fused = not isinstance(training.optimizer, config.OwnOptimizer)
        ours = self._fused and not isinstance(execution.clip, config.OwnClip)
        recorded = records_steps(execution, self.device, merges=self.merges, alone=alone, ours=ours)
        self._step = RecordedStep(self._take_step) if recorded else self._take_step
        self._blocks = list(fourier_blocks(self.network).values())
        optimizer = make_optimizer(training.optimizer, self.parameters(), recorded=recorded)
        if self._fused:
            # torch's own way to tell an optimiser, without waiting for the device, not to move.
            optimizer.found_inf = self.monitor.skip_update  # type: ignore[attr-defined]
        steps, epochs = int(trainer.estimated_stepping_batches), trainer.max_epochs or 1
        schedule = make_schedule(training.schedule, optimizer, steps=steps, epochs=epochs)
        self._optimizer, self._schedule = optimizer, schedule
        return [optimizer], [] if schedule is None else [schedule]

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Take a step; the weights move here and nowhere else."""
        self._step(batch, batch_idx % LOOK_EVERY == 0)
        if self.trainer.is_last_batch:
            self.learning_rate = float(self._optimizer.param_groups[0]["lr"])
        if isinstance(self._schedule, LambdaLR):
            self._schedule.step()

    def _take_step(self, batch: Batch, look: bool) -> None:
        """Clip a batch's gradients and move unless the step is bad; `look`: record their ratio."""
        self._optimizer.zero_grad()
        loss = self.training_loss(batch)
        self.manual_backward(loss)
        # Of all processes that share the step, so that they judge it alike.
        loss = self.trainer.strategy.reduce(loss.detach(), reduce_op="mean")
        norm = total_norm(self.clipper.units)
        # Before clipping, which may change their ratio.
        moduli = gradient_moduli(self._blocks) if look else None
        self.monitor.check_step(loss, norm, self.clipper(norm), moduli)
        # Of an optimiser of a user's own, which does not know the flag, the device must be asked.
        if self._fused or not self.monitor.skip_update:
            self._optimizer.step()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add the losses of a batch."""
        if self.monitor.failure is None:
            self._validated.append((len(batch.amplitude_BCHW), self.validation_losses(batch)))

    def on_validation_epoch_end(self) -> None:
        """Average the losses, each group with the same weight; end a run where they are NaN."""
        found, self._validated = self._validated, []
        if not found or self.trainer.sanity_checking:
            return
        sizes = [size for size, _ in found]
        for name in found[0][1]:
            # Fetched from the device at once.
            losses = torch.stack([losses[name] for _, losses in found]).tolist()
            weighed = (loss * size for loss, size in zip(losses, sizes, strict=True))
            self.val_losses[name] = sum(weighed) / sum(sizes)
        self.log_dict(self.val_losses, logger=False, prog_bar=True)
        judged = self.val_losses[self.val_loss_name]
        if not math.isfinite(judged):
            # The epoch's last step has been taken: that is the step that failed.
            reason = f"the validation loss is {judged}"
            self.monitor.end_run(self.trainer, "non_finite", reason, self.monitor.steps)

    def on_train_epoch_end(self) -> None:
        """Move a schedule that goes by epochs."""
        if isinstance(self._schedule, ReduceLROnPlateau):
            self._schedule.step(self.val_losses.get(self.val_loss_name, math.inf))

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> Tensor:
        """Return the object patches of a batch, (B, C, H, W); windows of the merged region where
        groups are merged in training."""
        patches: Tensor = self(batch.amplitude_BCHW)
        if self.merges and batch.whole_BC2 is not None:
            patches = merged_patches(patches, self.probe_MHW, batch.whole_BC2, batch.fraction_BC2)
        return patches


def make_optimizer(
    settings: config.Optimizer, parameters: Iterable[nn.Parameter], *, recorded: bool = False
) -> Optimizer:
    """Return the optimiser; one fused kernel per step. Where steps are `recorded` as CUDA graphs,
    the rate is a tensor, which a recording reads anew. `InputError` if it is one of a user's own
    that cannot be made of its settings."""
    rate = settings.learning_rate
    if isinstance(settings, config.OwnOptimizer):
        try:
            made: Optimizer = imported(settings.name)(parameters, lr=rate, **settings.settings)
        except (TypeError, ValueError) as error:
            raise InputError(f"training.optimizer: '{settings.name}': {error}") from None
        return made
    common: dict[str, Any] = {"fused": True}
    common["lr"] = torch.tensor(rate, device="cuda") if recorded else rate
    if isinstance(settings, config.SGD):
        return SGD(parameters, momentum=settings.momentum, **common)
    common["capturable"] = recorded
    if isinstance(settings, config.AdamW):
        return AdamW(parameters, weight_decay=settings.weight_decay, **common)
    return Adam(parameters, **common)


def make_schedule(
    settings: config.Schedule, optimizer: Optimizer, *, steps: int, epochs: int
) -> LRScheduler | None:
    """Return the schedule of a run of so many steps, or None for a constant rate; a LambdaLR moves
    after each step, the other after each epoch's validation."""
    match settings:
        case config.ConstantSchedule():
            return None
        case config.WarmupCosineSchedule():
            warmup = settings.warmup_epochs * steps / epochs

            def factor(step: int) -> float:
                if step < warmup:
                    return (step + 1) / (warmup + 1)
                done = min((step - warmup) / max(steps - warmup, 1), 1.0)
                cosine = (1 + math.cos(math.pi * done)) / 2
                return settings.final_fraction + (1 - settings.final_fraction) * cosine

            return LambdaLR(optimizer, factor)
        case config.ExponentialSchedule():
            return LambdaLR(optimizer, lambda step: settings.gamma ** (step * epochs // steps))
        case config.PlateauSchedule():
            # torch's patience of n lowers after n + 1 bad epochs; ours is the number itself.
            patience = settings.patience_epochs - 1
            return ReduceLROnPlateau(optimizer, factor=settings.factor, patience=patience)
        case _:
            assert_never(settings)
