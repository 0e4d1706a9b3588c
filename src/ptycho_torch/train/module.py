"""What is trained: a generator seen through the forward model, and its losses.

Letters: B batch, C patches of a group, H rows, W columns, M probe modes.
"""

import math

import torch
from torch import Tensor, nn

from ptycho_torch.config.training import RunSettings
from ptycho_torch.data.batch import Batch
from ptycho_torch.data.split_scales import LOSSES, SplitScales
from ptycho_torch.physics.forward import amplitudes
from ptycho_torch.physics.groups import group_amplitudes


class FitModule(nn.Module):
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
        self.checkpointed = run.execution.checkpointing
        learned = run.training.intensity_scale == "learned"
        self.log_gain = nn.Parameter(torch.zeros(())) if learned else None

    @property
    def val_loss_name(self) -> str:
        """The validation loss that the run is judged by."""
        return f"{self.run.training.loss}_val_loss"

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

    def network_input(self, amplitude_BCHW: Tensor) -> Tensor:
        """Return what the network is shown of measured amplitudes."""
        scaled = amplitude_BCHW * self.input_scale
        return scaled if self.log_gain is None else scaled / self.log_gain.exp()

    def arithmetic(self) -> torch.autocast:
        """Return the context in which the network runs: bfloat16 in training, where it is asked
        for. Spectra, physics, losses and all that only measures stay float32."""
        reduced = self.training and self.run.execution.precision == "bf16"
        return torch.autocast(self.probe_MHW.device.type, torch.bfloat16, enabled=reduced)

    def forward(self, amplitude_BCHW: Tensor) -> Tensor:
        """Return object patches, (B, C, H, W), complex, in units of `norm_Y_I`."""
        with self.arithmetic():
            patches: Tensor = self.network(self.network_input(amplitude_BCHW))
        return patches

    def explained(self, patches_BCHW: Tensor, batch: Batch) -> Tensor:
        """Return the amplitudes that object patches let expect for a batch, (B, C, H, W)."""
        if self.merges and batch.whole_BC2 is not None:
            found = group_amplitudes(
                patches_BCHW, self.probe_MHW, batch.whole_BC2, batch.fraction_BC2
            )
        else:
            found = amplitudes(patches_BCHW, self.probe_MHW)
        return found if self.log_gain is None else found * self.log_gain.exp()

    def training_loss(self, batch: Batch, patches_BCHW: Tensor | None = None) -> Tensor:
        """Return the loss of a batch of the training split, by the run's choice.

        `patches_BCHW`: what the network drew for it, if that is known already.
        """
        patches = self(batch.amplitude_BCHW) if patches_BCHW is None else patches_BCHW
        return self.scales["train"].loss(
            self.run.training.loss,
            self.explained(patches, batch),
            batch.amplitude_BCHW,
            batch.good_BCHW,
        )

    def validation_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return every loss of a batch of the validation split, by its name in `history.csv`."""
        predicted = self.explained(self(batch.amplitude_BCHW), batch)
        scales = self.scales["validation"]
        return {
            f"{name}_val_loss": scales.loss(name, predicted, batch.amplitude_BCHW, batch.good_BCHW)
            for name in LOSSES
        }
