"""How a network is trained: clipping, loss, optimiser, schedule, device; and one run's settings."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from ptycho_torch.config.base import (
    NAME,
    Accelerator,
    Count,
    Fraction,
    Name,
    NotNegative,
    Positive,
    Real,
    Seed,
    Settings,
    Share,
    placed,
)
from ptycho_torch.config.generator import GeneratorSettings, Sourced, plan_levels

OwnName = Annotated[str, Field(pattern=r"^[\w.]+:[\w.]+$")]
Beta = Annotated[Real, Field(ge=0, lt=1)]


def _kind(key: str) -> Discriminator:
    """Tell the kinds of a block by `key`: a word, or 'package.module:Class' of a user's own."""

    def kind(block: Any) -> Any:
        name = block.get(key) if isinstance(block, Mapping) else getattr(block, key, None)
        return "own" if isinstance(name, str) and ":" in name else name

    kind.__name__ = key  # By which a mistake names it.
    return Discriminator(kind)


class NoClip(Settings):
    """Leave gradients as they are."""

    gradient_clip_algorithm: Literal["none"]


class NormClip(Settings):
    """Scale all gradients down together when their global norm is too large."""

    gradient_clip_algorithm: Literal["norm"]
    max_norm: Positive
    """Largest 2-norm of all gradients as one vector; loss per unit weight."""


class ValueClip(Settings):
    """Cut each gradient element at a bound."""

    gradient_clip_algorithm: Literal["value"]
    max_value: Positive
    """Largest modulus of a gradient element; loss per unit weight."""


class AdaptiveClip(Settings):
    """Keep each unit's gradient below a fraction of its weight (AGC).

    Brock et al. (2021), arXiv:2102.06171, section 4.
    """

    gradient_clip_algorithm: Literal["agc"]
    max_ratio: Positive
    """Largest ||gradient|| / ||weight|| of one unit (output channel); dimensionless."""
    min_weight_norm: Positive = 1e-3
    """Floor on ||weight||, so that a unit that starts at zero can still learn."""


class AdaGClip(Settings):
    """Keep each tensor's gradient near the running mean of its own clipped norms (AdaGC); Wang et
    al. (2025), arXiv:2502.11034, algorithm 1."""

    gradient_clip_algorithm: Literal["adagc"]
    max_growth: Positive = 1.05
    """Largest norm in units of the running mean; dimensionless."""
    decay: Beta = 0.98
    """Decay of the running mean, 0 to 1."""
    warmup_steps: Count = 100
    """Steps at first in which all gradients are clipped together, by `warmup_max_norm`."""
    warmup_max_norm: Positive = 1.0
    """Largest 2-norm of all gradients taken as one vector, in the first steps."""


class ZClip(Settings):
    """Scale all gradients down together when their global norm stands out from its own past; Kumar
    et al. (2025), arXiv:2504.02507, section 3."""

    gradient_clip_algorithm: Literal["zclip"]
    max_score: Positive = 2.5
    """Largest distance from the norm's running mean, in standard deviations."""
    decay: Beta = 0.97
    """Decay of the running mean and variance, 0 to 1."""
    warmup_steps: Annotated[int, Field(ge=2)] = 25
    """Steps at first that only measure mean and variance."""


class _Own(Sourced):
    settings: dict[str, Any] = {}
    """What its class takes, beside what it is always called with."""
    source: str | None = None
    """SHA-256 of its file, filled in, so that an edit trains anew."""


class OwnClip(_Own):
    """A rule of your own (docs/own-network.md)."""

    gradient_clip_algorithm: OwnName
    """'package.module:Class'; called with the parameters after each backward pass."""


Clip = Annotated[
    Annotated[NoClip, Tag("none")]
    | Annotated[NormClip, Tag("norm")]
    | Annotated[ValueClip, Tag("value")]
    | Annotated[AdaptiveClip, Tag("agc")]
    | Annotated[AdaGClip, Tag("adagc")]
    | Annotated[ZClip, Tag("zclip")]
    | Annotated[OwnClip, Tag("own")],
    _kind("gradient_clip_algorithm"),
]


class Adam(Settings):
    """Kingma and Ba (2015), arXiv:1412.6980."""

    name: Literal["adam"]
    learning_rate: Positive
    """Step size at the start of the schedule."""


class AdamW(Settings):
    """Adam with decoupled weight decay; Loshchilov and Hutter (2019), arXiv:1711.05101."""

    name: Literal["adamw"]
    learning_rate: Positive
    """Step size at the start of the schedule."""
    weight_decay: NotNegative
    """Share of each weight taken off per step and unit learning rate."""


class SGD(Settings):
    """Stochastic gradient descent."""

    name: Literal["sgd"]
    learning_rate: Positive
    """Step size at the start of the schedule."""
    momentum: Beta = 0.9
    """Decay of the velocity; 0 for none."""


class OwnOptimizer(_Own):
    """Another of PyTorch's optimisers, or one of your own (docs/own-network.md)."""

    name: OwnName
    """'package.module:Class', such as 'torch.optim:RAdam', which takes parameters and `lr`."""
    learning_rate: Positive
    """Step size at the start of the schedule."""


Optimizer = Annotated[
    Annotated[Adam, Tag("adam")]
    | Annotated[AdamW, Tag("adamw")]
    | Annotated[SGD, Tag("sgd")]
    | Annotated[OwnOptimizer, Tag("own")],
    _kind("name"),
]


class ConstantSchedule(Settings):
    """The same learning rate throughout."""

    name: Literal["constant"]


class WarmupCosineSchedule(Settings):
    """Linear rise, then a half cosine to a fraction of the peak; moves at every step."""

    name: Literal["warmup_cosine"]
    warmup_epochs: NotNegative
    """Length of the linear rise, epochs; may be a fraction."""
    final_fraction: Share = 0.0
    """Learning rate at the end, as a fraction of the peak."""


class ExponentialSchedule(Settings):
    """The learning rate times a constant after every epoch."""

    name: Literal["exponential"]
    gamma: Annotated[Real, Field(gt=0, le=1)]
    """Factor per epoch."""


class PlateauSchedule(Settings):
    """Lower the learning rate when the validation loss stops falling."""

    name: Literal["plateau"]
    factor: Fraction
    """Factor at each lowering."""
    patience_epochs: Count
    """Epochs without improvement before a lowering."""


Schedule = Annotated[
    ConstantSchedule | WarmupCosineSchedule | ExponentialSchedule | PlateauSchedule,
    Field(discriminator="name"),
]


class TrainingSettings(Settings):
    """What the optimiser does."""

    epochs: Count
    """Passes over the training split."""
    batch_size: Count
    """Groups of patches per step; only full batches are used."""
    loss: Literal["mae", "poisson"]
    """MAE of amplitudes, or the Poisson negative log-likelihood of counts."""
    input_scaling: Literal["none", "statistical"] = "none"
    """Amplitudes as stored, or times sqrt((N/2)^2 / mean sum A^2) of the training split."""
    intensity_scale: Literal["fixed", "learned"] = "fixed"
    """s as measured, or times a factor trained with the weights, by which predicted amplitudes
    are multiplied and the network's input divided."""
    object_big: bool = True
    """Merge a group's patches before the physics; else each patch explains its frame alone."""
    optimizer: Optimizer
    schedule: Schedule
    explode_factor: Annotated[Real, Field(gt=1)] = 10.0
    """A step's loss beyond this multiple of the run's first loss is a spike ..."""
    explode_patience_steps: Count = 10
    """... and this many spikes in a row end the run as `exploded`, from the first of them."""
    collapse_variance: Positive | None = 1e-6
    """A patch is without structure if its illuminated variance over its mean square is under this.
    All patches of the validation split without structure ... Null: the guard is off."""
    collapse_patience_epochs: Count = 3
    """... for this many epochs in a row end the run as `collapsed`, from the first of them."""

    @model_validator(mode="after")
    def _warms_up_in_time(self) -> Self:
        warmup = getattr(self.schedule, "warmup_epochs", 0)
        if warmup >= self.epochs:
            raise ValueError(f"schedule.warmup_epochs of {warmup:g} never ends in {self.epochs}")
        return self


class ExecutionSettings(Settings):
    """On what a run is executed, and with which safeguards."""

    clip: Clip
    accelerator: Accelerator = "auto"
    """Device; gpu: CUDA, or Apple's; auto: the fastest there is."""
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """Arithmetic of the network in training steps. tf32: products of a CUDA GPU; bf16:
    convolutions. Spectra, physics, losses, validation and predictions are fp32."""
    compile: bool = False
    """Compile the network with torch.compile: some tens of seconds; a CPU needs a C++ compiler."""
    cuda_graphs: bool = False
    """Record the training step once and replay it. CUDA only, and not where groups are merged."""
    devices: Count = 1
    """Devices that share each step, batch_size groups each (DDP); on a CPU, processes."""
    loggers: list[Literal["csv", "tensorboard", "mlflow", "wandb"]] = []
    """Where each epoch's numbers go beside history.csv; changes no result."""
    threads: Count = 2
    """CPU threads of a training job; never more than the machine has."""
    deterministic: bool = True
    """The same run twice gives the same bytes on a CPU; operations that cannot are refused."""
    checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more work."""


class RunBlocks(Settings):
    """The blocks of a study that decide a run; their keys can be swept."""

    generator: GeneratorSettings
    training: TrainingSettings
    execution: ExecutionSettings


class RunSettings(RunBlocks):
    """Everything that decides one training run, and nothing else."""

    dataset: Name
    """Name of the dataset."""
    patch_px: Count
    """Side of its patches, pixels."""
    arm: Annotated[str, Field(pattern=NAME, max_length=120)]
    """Name of the arm, or of a variant of one."""
    seed: Seed
    """Root seed: weights and data order draw from named streams under it."""

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        with placed("generator: "):
            plan_levels(self.generator, self.patch_px)
        return self
