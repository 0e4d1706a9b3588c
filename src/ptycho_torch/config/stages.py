"""Which runs a stage of the study consists of: named arms, sweeps, and arms at greater depth."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ptycho_torch.config.base import (
    Depth,
    Fraction,
    Line,
    Name,
    NotNegative,
    Positive,
    Seed,
    Settings,
    number_from_yaml,
)
from ptycho_torch.config.variants import value_text

# Any value of a setting; a number that YAML 1.1 reads as text, such as 1e-3, becomes one.
Swept = Annotated[Any, BeforeValidator(number_from_yaml)]


def seed_list(seeds: int | list[int]) -> list[int]:
    """Return the seeds, spelled out: a number is how many, counted from 0."""
    return list(range(seeds)) if isinstance(seeds, int) else list(seeds)


def repeated(key: str, values: list[str]) -> None:
    """Raise `ValueError` if a list names something twice."""
    twice = sorted({v for v in values if values.count(v) > 1})
    if twice:
        raise ValueError(f"{key} names {', '.join(twice)} more than once")


def _seeds_differ(seeds: list[int]) -> list[int]:
    repeated("seeds", [str(seed) for seed in seeds])
    return seeds


Seeds = (
    Annotated[int, Field(ge=1, le=1000)]
    | Annotated[list[Seed], Field(min_length=1), AfterValidator(_seeds_differ)]
)


class StageSettings(Settings):
    """Which arms meet on which data, with which seeds."""

    dataset: Name
    """Entry of `datasets`; all arms and seeds use its bytes."""

    control: Name
    """The arm that the others are compared with."""

    arms: Annotated[list[Name], Field(min_length=1)]
    """Entries of the block `arms`; the control among them."""

    seeds: Seeds
    """Seeds of every arm: a list, or how many (counted from 0)."""

    @property
    def seed_list(self) -> list[int]:
        """The seeds, spelled out."""
        return seed_list(self.seeds)

    @model_validator(mode="after")
    def _names_are_clear(self) -> "StageSettings":
        repeated("arms", self.arms)
        if self.control not in self.arms:
            raise ValueError(f"control '{self.control}' is not among the arms: {self.arms}")
        return self


class SweepSettings(Settings):
    """One arm at several values of one or more of its settings; several keys make a grid.

    A value at which the arm equals an arm of the study is that arm: nothing is trained twice.
    """

    arm: Name
    """Entry of `arms` that is varied."""

    sweep: Annotated[
        dict[str, Annotated[list[Swept], Field(min_length=1)]], Field(min_length=1, max_length=3)
    ]
    """Key of `generator`, `training` or `execution` -> values. Leading parts of a key may be left
    out while it stays clear: `clip.max_norm` is `execution.clip.max_norm`. `clip.value` is the
    bound of the arm's clipping rule, whatever the rule calls it."""

    question: Line | None = None
    """What the sweep is to answer, for its summary."""

    dataset: Name | None = None
    """Entry of `datasets`; null: that of Stage A."""

    control: Name | None = None
    """Arm that every value is compared with; null: the control of Stage A."""

    seeds: Seeds | None = None
    """As in `stage_a`; null: those of Stage A."""

    alike_within: Fraction = 0.1
    """A value is alike to the control once its loss is shown to lie within this fraction of the
    control's, either way."""

    @model_validator(mode="after")
    def _values_differ(self) -> "SweepSettings":
        for key, values in self.sweep.items():
            repeated(key, [value_text(value) for value in values])
        return self


class DepthSettings(Settings):
    """Stage B, the deep test: Stage A's winner and the control with more Fourier blocks."""

    fno_blocks: Depth
    """Fourier blocks of the deep arms."""

    seeds: Seeds | None = None
    """As in `stage_a`; null: those of Stage A."""

    max_loss_increase: NotNegative = 0.1
    """The deep arm matches its shallow self if its loss is at most this fraction higher ..."""

    max_ssim_decrease: NotNegative = 0.02
    """... and its amplitude SSIM at most this much lower; paired by seed."""

    gradient_factor: Positive = 10.0
    """The gradient norm is bounded if no epoch's 99th percentile exceeds this multiple of Stage
    A's: the largest 99th percentile among the shallow arm's runs."""


class PivotSettings(Settings):
    """The pivot: a further arm at Stage B's depth, beside the control and the cures."""

    arm: Name
    """Entry of `arms`, not of Stage A: what is tried if the cures fail."""

    cures: Annotated[list[Name], Field(min_length=1)]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """A stage with every name resolved: what is run, and what is compared with what."""

    name: str
    """Name of the stage's folder and target, such as `stage_a`."""

    title: str
    """As a heading."""

    question: str
    """What the stage is to answer."""

    dataset: str
    """Entry of `datasets`."""

    control: str
    """The arm that the others are seen against."""

    arms: tuple[str, ...]
    """Arms and variants, in the order of tables and figures."""

    seed_list: tuple[int, ...]
    """Seeds of every arm."""

    pairs: tuple[tuple[str, str], ...]
    """(arm, other) of every comparison: the family of Holm's correction."""

    depth: tuple[tuple[str, str], ...] = ()
    """(deep arm, shallow one that it is to match), where depth is judged."""


def against(control: str, arms: list[str]) -> tuple[tuple[str, str], ...]:
    """Return every arm beside the control, as pairs to compare."""
    return tuple((arm, control) for arm in arms if arm != control)
