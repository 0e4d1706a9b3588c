"""The blocks of a study that say which arms meet where, and what a sweep changes of an arm."""

from collections.abc import Iterator, Mapping
from functools import reduce
from itertools import product
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Discriminator, Field, Tag

from ptycho_torch.config.base import (
    AtLeastOne,
    Checksum,
    Count,
    Depth,
    Different,
    Fraction,
    Gridsize,
    Line,
    Name,
    Names,
    NotNegative,
    Positive,
    Rising,
    Seeds,
    Settings,
    leaves,
    number_from_yaml,
    value_text,
)
from ptycho_torch.config.scan import RegionSettings, RpieSettings, ScanConventions
from ptycho_torch.runtime.errors import nearest

DEPTH = "generator.fno_blocks"
"""Key that Stage B, the pivot, the crash hunt and the stress stage change."""


class Looks(Settings):
    """Planned looks: after each, only what is still undecided goes on to the next."""

    looks: Annotated[list[Count], Field(min_length=2, max_length=6), Rising]
    """Seeds per arm at each look, rising. Each look is tested at a level below the stage's, such
    that all of them together keep it (Pocock 1977)."""
    taken: Count | None = None
    """How many of the looks to take; null: all. The others keep their share of the level, so that
    they can be taken once the summary says that they are worth it."""


# Told apart first, so that a mistake in one is not told as one in the other.
SeedsOrLooks = Annotated[
    Annotated[Seeds, Tag("seeds")] | Annotated[Looks, Tag("planned")],
    Discriminator(lambda value: "planned" if isinstance(value, (dict, Looks)) else "seeds"),
]


class StageSettings(Settings):
    """Which arms meet on which data, with which seeds."""

    dataset: Name
    """Entry of `datasets`; all arms and seeds use its bytes."""
    control: Name
    """The arm that the others are compared with."""
    arms: Names
    """Entries of the block `arms`; the control among them."""
    seeds: SeedsOrLooks
    """Seeds of every arm: a list, how many (counted from 0), or planned looks."""

    @property
    def seed_list(self) -> list[int]:
        """The seeds that every run of the stage has, spelled out: with looks those of the first."""
        return list(range(self.seeds.looks[0])) if isinstance(self.seeds, Looks) else self.seeds


class Variant(NamedTuple):
    """An arm, `base`, with some settings changed: full key, `execution.clip.max_norm` -> value."""

    base: str
    changes: tuple[tuple[str, Any], ...]

    @property
    def name(self) -> str:
        """The base's name, and the last part of each key with its value."""
        return "-".join([self.base, *(f"{key}-{value}" for key, value in self._short())])

    def label(self) -> str:
        """Return what is changed, in words: `max_norm 5`."""
        return ", ".join(f"{key} {value}" for key, value in self._short())

    def __str__(self) -> str:
        return f"{self.base} with {self.label()}"

    def _short(self) -> Iterator[tuple[str, str]]:
        for key, value in self.changes:
            yield key.removesuffix(".name").rsplit(".", 1)[-1], value_text(value)

    def overrides(self) -> dict[str, Any]:
        """Return the changes as nested blocks."""
        nested: dict[str, Any] = {}
        for key, value in self.changes:
            *path, leaf = key.split(".")
            reduce(lambda block, step: block.setdefault(step, {}), path, nested)[leaf] = value
        return nested


# Any value of a setting; a number that YAML 1.1 reads as text, such as 1e-3, becomes one.
Swept = Annotated[Any, BeforeValidator(number_from_yaml)]
# A sweep's name becomes a folder of results and a target of Snakemake.
SweepName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]
# Folders of results and rules that a sweep must not take.
TAKEN = {
    *("stage_a", "stress", "stage_b", "pivot", "study", "simulate", "train", "evaluate", "decide"),
    *("parity", "diagnose", "diagnostics", "reconstruct"),
}


class SweepSettings(Settings):
    """An arm, or several, at values of one or more of their settings; several keys make a grid.

    A value at which the arm equals an arm of the study is that arm: nothing is trained twice.
    """

    arm: Name | Names
    """Entry of `arms` that is varied, or several."""
    sweep: Annotated[
        dict[str, Annotated[list[Swept], AtLeastOne, Different]], Field(min_length=1, max_length=3)
    ]
    """Key of `generator`, `training` or `execution` -> values, in the order of tables and figures.
    Leading parts of a key may be left out while it stays clear: `clip.max_norm`."""
    question: Line | None = None
    """What the sweep is to answer, for its summary."""
    dataset: Name | None = None
    """Entry of `datasets`; null: that of Stage A."""
    seeds: Seeds | None = None
    """As in `stage_a`; null: those of Stage A, or of its first look."""
    control: Name | None = None
    """Arm that every value is compared with; null: the control of Stage A."""
    alike_within: Fraction = 0.1
    """A value is alike to the control if its loss is shown to lie within this fraction of its."""

    @property
    def arm_list(self) -> list[str]:
        """The arms that are varied."""
        return [self.arm] if isinstance(self.arm, str) else self.arm

    def variants(self, arm: str, settings: Mapping[str, Any]) -> list[Variant]:
        """Return the variants of an arm with these blocks, the last key varying fastest."""
        keys = [_full_key(key, settings) for key in self.sweep]
        grid = product(*self.sweep.values())
        return [Variant(arm, tuple(zip(keys, values, strict=True))) for values in grid]


def _full_key(key: str, settings: Mapping[str, Any]) -> str:
    """Return the one key of `settings` that is, or ends with, `key`."""
    keys = [full for full, _ in leaves(settings)]
    found = [key] if key in keys else [full for full in keys if full.endswith(f".{key}")]
    if not found:
        raise ValueError(f"there is no setting '{key}'{nearest(key, keys)}")
    if len(found) > 1:
        raise ValueError(f"'{key}' is not clear; it may be {' or '.join(found)}")
    return found[0]


class StressSettings(Settings):
    """The stress stage: every arm at rising learning rates, until it no longer learns.

    Rates are constant, without warm-up, which hides instabilities. Data and control are Stage A's.
    """

    arms: Names
    """Entries of `arms`; Stage A's control among them."""
    learning_rates: Annotated[list[Positive], Field(min_length=3), Rising]
    """The grid, rising, from a rate at which the control succeeds to one at which it fails; in
    steps of half a decade or less, fixed before the first run."""
    depths: Annotated[list[Depth], AtLeastOne, Different] = [4, 8]
    """Fourier blocks at which every rate is tried."""
    epochs: Count
    """Epochs of each run."""
    seeds: SeedsOrLooks
    """As in `stage_a`."""

    def points(self, blocks: Mapping[str, Any]) -> Iterator[tuple[Variant, int, float]]:
        """Yield (what is changed of an arm, depth, rate), given the blocks in force of each arm."""
        for arm, depth, rate in product(self.arms, self.depths, self.learning_rates):
            generator, training = blocks[arm]["generator"], blocks[arm]["training"]
            changes = [
                (DEPTH, depth, generator["fno_blocks"]),
                ("training.optimizer.learning_rate", rate, training["optimizer"]["learning_rate"]),
                ("training.epochs", self.epochs, training["epochs"]),
                ("training.schedule.name", "constant", training["schedule"]["name"]),
            ]
            changed = tuple((key, value) for key, value, own in changes if value != own)
            yield Variant(arm, changed), depth, rate


class DepthSettings(Settings):
    """Stage B, the deep test: Stage A's winner and the control with more Fourier blocks."""

    fno_blocks: Depth
    """Fourier blocks of the deep arms."""
    seeds: Seeds | None = None
    """As in `stage_a`; null: those of Stage A, or of its first look."""
    max_loss_increase: NotNegative = 0.1
    """The deep arm matches its shallow self if its loss is at most this fraction higher ..."""
    max_ssim_decrease: NotNegative = 0.02
    """... and its amplitude SSIM at most this much lower; paired by seed."""
    gradient_factor: Positive = 10.0
    """Bound on the 99th percentile of an epoch's gradient norm, in units of the shallow arm's."""


class PivotSettings(Settings):
    """The pivot: a further arm at Stage B's depth, beside the control and the cures."""

    arm: Name
    """Entry of `arms`, not of Stage A: what is tried if the cures fail."""
    cures: Names
    """Arms of Stage A that are to survive depth."""


class DecisionSettings(Settings):
    """What Gold, Silver and Pivot ask for, beyond `statistics`."""

    gold: Name
    """Arm that Gold is about: its generator becomes the default."""
    silver: Name
    """Arm that Silver is about: its clipping becomes the training policy."""
    max_loss_increase: NotNegative = 0.1
    """Silver: the loss exceeds the control's by at most this fraction (paired ratio)."""
    acceptable_failure_rate: Fraction = 0.1
    """A cure fails at depth once its failure rate is shown to exceed this (exact binomial test)."""


class Measurement(Settings):
    """A file of measurements, and how it becomes frames."""

    about: Line = ""
    """What was measured, where, under which licence; for the summary."""
    address: Annotated[Line, Field(pattern="^https?://")]
    """Where the file is downloaded, unless the folder in PTYCHO_DATA has it."""
    sha256: Checksum
    """Checksum that it must have, wherever it comes from."""
    file: Name
    """Its name in that folder."""
    reading: ScanConventions
    """Conventions of the file; `patch_px` must be given, since networks are built for it."""


class RealDataSettings(Settings):
    """What `real_data_summary` makes: rPIE and networks on measured data."""

    measurements: Annotated[dict[Name, Measurement], AtLeastOne]
    """Measurements by name."""
    arms: Names
    """Entries of the block `arms` that are trained on each measurement."""
    gridsizes: Annotated[list[Gridsize], AtLeastOne, Different] = [1]
    """Each arm is trained at each: 1: single frames, 2: groups of four merged neighbours."""
    seeds: Seeds = [0]
    """How many, counted from 0, or which."""
    training: dict[str, Any] = {}
    """Keys of the block `training` that differ here, for every arm."""
    generator: dict[str, Any] = {}
    """Keys of the block `generator` that differ here, for every arm."""
    validation_fraction: Fraction = 0.1
    """Share of the training frames that choose the best epoch: one block at a corner."""
    held_out: RegionSettings = RegionSettings()
    rpie: RpieSettings = RpieSettings(iterations=40, batch_size=32, probe_from_iteration=2)
    threads: Count = 1
    """CPU threads of rPIE; those of training are `execution.threads`."""

    @property
    def networks(self) -> dict[str, tuple[str, int]]:
        """Name -> (arm, gridsize); `-grid2` is for groups."""
        pairs = [(arm, size) for size in self.gridsizes for arm in self.arms]
        return {arm if size == 1 else f"{arm}-grid{size}": (arm, size) for arm, size in pairs}
