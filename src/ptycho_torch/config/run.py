"""The settings of one run: what training reads, without the rest of the study."""

from typing import Annotated

from pydantic import Field, model_validator

from ptycho_torch.config.base import Count, Name, Seed, Settings
from ptycho_torch.config.generator import GeneratorSettings, plan_levels
from ptycho_torch.config.training import ExecutionSettings, TrainingSettings


class RunSettings(Settings):
    """Everything that decides one training run, and nothing else."""

    dataset: Name
    """Name of the dataset."""

    patch_px: Count
    """Side of its patches, pixels."""

    arm: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$", max_length=120)]
    """Name of the arm, or of a variant of one."""

    seed: Seed
    """Root seed: weights and data order draw from named streams under it."""

    generator: GeneratorSettings
    """The network."""

    training: TrainingSettings
    """Loss, optimiser, schedule."""

    execution: ExecutionSettings
    """Device and clipping."""

    @model_validator(mode="after")
    def _can_be_built(self) -> "RunSettings":
        try:
            plan_levels(self.generator, self.patch_px)
        except ValueError as error:
            raise ValueError(f"generator: {error}") from None
        return self
