"""A scan: how it is read and reconstructed, and how a network is trained and used on it."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ptycho_torch.config.base import (
    Accelerator,
    Count,
    Fraction,
    Gridsize,
    Name,
    NotNegative,
    Positive,
    Real,
    Rising,
    Seed,
    Settings,
    Share,
    merge,
)
from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.training import (
    Adam,
    ConstantSchedule,
    ExecutionSettings,
    NoClip,
    RunSettings,
    TrainingSettings,
)

Neighbours = Annotated[int, Field(ge=4)]


class ScanConventions(Settings):
    """Conventions of a file. `auto` is told from the file and said; the rest is as given.

    Order: frames and positions are chosen (`scan_index`, `n_images`), counts become amplitudes,
    positions become corners in pixels (`units`, `origin`, `half_pixel`), are swapped, then
    flipped, and at last the detector is cut to `patch_px`.
    """

    values: Literal["auto", "amplitude", "intensity"] = "auto"
    """What a pixel holds. auto: whole numbers are counts; else as the layout has it."""
    zero_frequency: Literal["auto", "centre", "corner"] = "auto"
    """Where the direct beam is. auto: where the light is, else as the layout has it."""
    stack: Literal["auto", "first", "last"] = "auto"
    """Axis that numbers the frames. auto: as long as there are positions, else by the light."""
    mask_means: Literal["auto", "good", "bad"] = "auto"
    """What a set pixel of the mask is. auto: as the file has it, else what keeps most light."""
    outliers: Literal["drop", "keep"] = "drop"
    """Frames of less than a tenth or more than ten times the median frame's light."""
    corrections: Literal["apply", "ignore"] = "apply"
    """Subtract the file's dark field, and divide by its monitor of the beam."""
    units: Literal["auto", "pixels", "metres", "mm", "um", "nm"] = "auto"
    """Of positions. auto: as their attribute has it, else metres in CXI, pixels elsewhere."""
    pixel_m: Positive | None = None
    """Side of an object pixel, metres, before the detector is cut; wins over the file's."""
    origin: Literal["auto", "corner", "centre", "middle"] = "auto"
    """What a position names: the upper left pixel of its window (corner), its pixel [N // 2]
    (centre), both counted from the object's pixel 0; or its centre counted from the middle of the
    object, or of the scan where there is no object (middle). auto: centre for npz, middle for cxi,
    corner else."""
    half_pixel: Literal[-1, 0, 1] = 0
    """Half pixels added to both coordinates: 1 where a window's middle is at (N - 1) / 2."""
    swap_axes: bool = False
    """Row and column change places, before the flips."""
    flip_rows: bool = False
    """Mirror the rows of the positions, in the object or else in the scan."""
    flip_columns: bool = False
    """Mirror the columns of the positions."""
    scan_index: Annotated[int, Field(ge=0)] | None = None
    """Which scan of several: its number in `scan_index`, of CXI's entry or of its detector, or of
    a split's image, counted from 0."""
    n_images: Count | None = None
    """Only the first frames, this many; None: all."""
    patch_px: Count | None = None
    """Side of a frame after the detector was cut to its centre, pixels, which makes the object's
    pixels larger; None: as it is."""


class GroupSettings(Settings):
    """How a scan's frames are grouped."""

    gridsize: Gridsize = 1
    """1: single frames; 2: groups of four neighbours."""
    n_images: Count | None = None
    """Groups (at gridsize 1 frames) that are used, chosen by the seed; None: one a frame."""
    neighbor_count: Neighbours = 6
    """Nearest neighbours that a group's other frames are drawn from, at least four."""


class FitSettings(Settings):
    """Everything that decides a training on one scan; a run's settings, and its data's."""

    name: Name = "scan"
    """Name of the training data."""
    arm: Name = "file"
    """Name of the arm that the settings were taken from."""
    seed: Seed = 0
    """Root seed of weights, order of the data, held-out block and groups."""
    groups: GroupSettings = GroupSettings()
    validation_fraction: Fraction = 0.15
    """Share of the frames that validates, in one block at a corner of the scan."""
    gap_px: NotNegative | None = None
    """Frames nearer than this to a validation frame are not used, pixels; None: as far as the
    probe reaches (docs/own-data.md)."""
    photons: Positive = 1e9
    """Mean photons of a frame, for files that do not say them."""
    generator: GeneratorSettings = GeneratorSettings(
        name="hybrid", width=32, fno_blocks=4, modes=12
    )
    training: TrainingSettings = TrainingSettings(
        epochs=50,
        batch_size=16,
        loss="mae",
        optimizer=Adam(name="adam", learning_rate=1e-3),
        schedule=ConstantSchedule(name="constant"),
    )
    execution: ExecutionSettings = ExecutionSettings(clip=NoClip(gradient_clip_algorithm="none"))

    @model_validator(mode="before")
    @classmethod
    def _over_the_defaults(cls, given: Any) -> Any:
        """Let a block name only what differs from its default."""
        blocks = ("generator", "training", "execution")
        defaults = {key: cls.model_fields[key].default.model_dump() for key in blocks}
        return merge(defaults, given) if isinstance(given, dict) else given

    def run(self, patch_px: Any) -> RunSettings:
        """Return the settings on frames of this side, pixels; raises as `RunSettings`."""
        shared = self.model_dump(include=set(RunSettings.model_fields))
        return RunSettings(dataset=self.name, patch_px=patch_px, **shared)


Range = Annotated[list[Share], Field(min_length=2, max_length=2), Rising]


class RegionSettings(Settings):
    """Which frames are held out: those that were taken within one rectangle of the scan. Frames
    nearer to one of them than the radius that holds half of the probe's light are not used."""

    rows: Range = [0.1, 0.2]
    """First and last row, as shares of the scan's extent."""
    columns: Range = [0.0, 0.5]
    """First and last column, likewise."""


Regularisation = Annotated[Real, Field(gt=0, le=1)]
Step = Annotated[Real, Field(gt=0, le=2)]


class RpieSettings(Settings):
    """Regularised ptychographic iterative engine (docs/own-data.md).

    Maiden, Johnson and Li, Optica 4, 736 (2017), doi:10.1364/OPTICA.4.000736.
    """

    iterations: Count = 100
    """Iterations over all frames."""
    alpha: Regularisation = 0.1
    """Weight of the brightest illumination in the object's step; dimensionless, 1: ePIE."""
    object_step: Step = 1.0
    """Factor on the object's step; dimensionless."""
    refine_probe: bool = True
    """Refine the probe as well; false: it is known and stays as it is."""
    probe_alpha: Regularisation = 1.0
    """`alpha` of the probe's step."""
    probe_step: Step = 1.0
    """Factor on the probe's step; dimensionless."""
    probe_from_iteration: Count = 1
    """First iteration in which the probe is refined; the object needs a form before."""
    probe_scale: Literal["given", "frames"] = "frames"
    """The probe's scale. `frames`: it is scaled to the frames' mean power, and the object's mean
    intensity under the probe comes out near 1; `given`: its power is in the units of the frames'
    squared amplitude, as in this project's files."""
    batch_size: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    """Frames that are updated together, at most: an iteration is cut into batches of nearly equal
    size. None: the root of the number of frames; 1: one after the other, the rPIE of the paper; 0:
    all at once, which makes the order of frames irrelevant."""
    seed: Seed = 0
    """Seed of the order of frames, drawn anew for each iteration."""

    def frames_at_once(self, frames: int) -> int:
        """Return the largest batch of so many frames."""
        size = round(frames**0.5) if self.batch_size is None else self.batch_size
        return min(size or frames, frames)


class ConventionalSettings(RpieSettings):
    """The row of the tables that no network made: rPIE on the test split, whose probe is known. It
    is no arm and enters no comparison.
    """

    refine_probe: bool = False
    """Refine the probe as well; false: it is known and stays as it is."""
    probe_scale: Literal["given", "frames"] = "given"
    """`given`: the dataset's own; `frames`: scaled to the frames' mean power."""
    batch_size: Annotated[int, Field(ge=0, le=10_000_000)] | None = 1
    """Frames that are updated together, at most; 1: one after the other, the rPIE of the paper."""
    snapshots: Annotated[list[Count], Field(min_length=1)] = [1, 2, 5, 10, 20, 50, 100]
    """Iterations after which quality is scored against time; the last one always is."""

    @property
    def scored_iterations(self) -> list[int]:
        """Iterations to score, in order."""
        return sorted({n for n in self.snapshots if n < self.iterations} | {self.iterations})


# Far beyond any measurement, and within what single precision holds; a command gives text.
Scale = Annotated[float, Field(strict=False, ge=1e-12, le=1e12)]


class InferSettings(Settings):
    """How a bundle is used on a scan."""

    scale: Literal["auto", "stored", "measured"] | Scale = "auto"
    """How frames come into the bundle's units. stored: by their photons and the bundle's s;
    measured: an object of modulus 1 explains their mean; a number: s of the file, (s A)^2 are
    photons. auto: stored where file and bundle know their photons, else measured."""
    neighbor_count: Neighbours = 6
    """As in training; only for groups."""
    n_images: Count | None = None
    """Groups (at gridsize 1 frames) that are used; None: one a frame."""
    seed: Seed = 0
    """Of the groups."""
    batch_size: Count = 64
    """Groups that the network sees at once; changes no result beyond rounding."""
    accelerator: Accelerator = "auto"
    """Device; auto: the fastest there is."""
    threads: Count = 2
    """CPU threads; never more than the machine has."""
