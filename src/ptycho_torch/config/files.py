"""Training and inference on files of measurements, outside a study."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ptycho_torch.config.base import (
    Count,
    Fraction,
    Name,
    NotNegative,
    Positive,
    Real,
    Seed,
    Settings,
)
from ptycho_torch.config.clip import NoClip
from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.run import RunSettings
from ptycho_torch.config.training import (
    Adam,
    ConstantSchedule,
    ExecutionSettings,
    TrainingSettings,
)

_NEIGHBOURS = 6


class GroupSettings(Settings):
    """How a scan's frames are grouped."""

    gridsize: Annotated[int, Field(ge=1, le=2)] = 1
    """1: single frames; 2: groups of four neighbours."""

    n_images: Count | None = None
    """Groups (at gridsize 1 frames) that are used, chosen by the seed; None: as many as there are
    frames."""

    neighbor_count: Count = _NEIGHBOURS
    """Nearest neighbours that the other frames of a group are drawn from; at least four."""

    @model_validator(mode="after")
    def _must_have_effect(self) -> Self:
        if self.gridsize == 1 and self.neighbor_count != _NEIGHBOURS:
            raise ValueError(
                f"neighbor_count: {self.neighbor_count} is of groups (gridsize 2) and has no "
                "effect on single frames; leave it out"
            )
        return self

    @property
    def frames(self) -> int:
        """C, frames of a group."""
        return self.gridsize**2


class FitSettings(Settings):
    """Everything that decides a training on one scan; a run's settings, and its data's."""

    name: Name
    """Name of the training data."""

    arm: Name = "file"
    """Name of the arm that the settings were taken from."""

    seed: Seed = 0
    """Root seed: weights, order of the data, held-out block and groups draw from named streams."""

    groups: GroupSettings = GroupSettings()
    """How frames are grouped."""

    validation_fraction: Fraction = 0.15
    """Share of the frames that are kept out of training, in one block at a corner of the scan."""

    gap_px: NotNegative | None = None
    """Frames nearer than this to a validation frame are used for neither, pixels; None: as far as
    the probe reaches (docs/inference.md)."""

    photons: Positive = 1e9
    """Mean photons of a frame, for files that do not say them."""

    generator: GeneratorSettings = GeneratorSettings(
        name="hybrid", width=32, fno_blocks=4, modes=12
    )
    """The network."""

    training: TrainingSettings = TrainingSettings(
        epochs=50,
        batch_size=16,
        loss="mae",
        optimizer=Adam(name="adam", learning_rate=1e-3),
        schedule=ConstantSchedule(name="constant"),
    )
    """Loss, optimiser, schedule."""

    execution: ExecutionSettings = ExecutionSettings(clip=NoClip(gradient_clip_algorithm="none"))
    """Device and clipping."""

    def run(self, patch_px: int) -> RunSettings:
        """Return the settings of the run on frames of this size; raises as `RunSettings`."""
        return RunSettings(
            dataset=self.name,
            patch_px=patch_px,
            arm=self.arm,
            seed=self.seed,
            generator=self.generator,
            training=self.training,
            execution=self.execution,
        )


# Far beyond any measurement, and within what single precision holds.
Scale = Annotated[Real, Field(ge=1e-12, le=1e12)]


class InferSettings(Settings):
    """How a bundle is used on a scan."""

    scale: Literal["auto", "stored", "measured"] | Scale = "auto"
    """How frames come into the bundle's units. stored: by their photons and the bundle's s;
    measured: so that the probe and an object of modulus 1 explain their mean; a number: s of the
    file, (s A)^2 are photons. auto: stored where the file says its photons, else measured."""

    probe: Literal["bundle", "file"] = "bundle"
    """Whose probe weighs the patches and predicts the frames."""

    neighbor_count: Count = _NEIGHBOURS
    """As in training; only for groups."""

    n_images: Count | None = None
    """Groups (at gridsize 1 frames) that are used; None: as many as there are frames."""

    seed: Seed = 0
    """Of the groups."""

    batch_size: Count = 64
    """Groups that the network sees at once; changes no result beyond rounding."""

    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    """Device; auto: the fastest there is."""

    threads: Count = 2
    """CPU threads; never more than the machine has."""


def first_message(error: Any) -> str:
    """Return a validation error's first mistake as `key: what`, one line."""
    item = error.errors()[0]
    where = ".".join(str(step) for step in item["loc"])
    message = item["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
