"""The blocks of a study that say which arms meet where; and the whole study, in one object."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ptycho_torch.config.base import (
    AtLeastOne,
    Count,
    Depth,
    Different,
    Fraction,
    Line,
    Looks,
    Name,
    NotNegative,
    Positive,
    Rising,
    Seeds,
    SeedsOrLooks,
    Settings,
    number_from_yaml,
    seed_list,
)
from ptycho_torch.config.dataset import Dataset
from ptycho_torch.config.evaluation import (
    DiagnosticsSettings,
    EvaluationSettings,
    ParitySettings,
    StatisticsSettings,
)
from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.real_data import RealDataSettings
from ptycho_torch.config.scan import ConventionalSettings
from ptycho_torch.config.training import ExecutionSettings, TrainingSettings
from ptycho_torch.runtime.errors import nearest

# Any value of a setting; a number that YAML 1.1 reads as text, such as 1e-3, becomes one.
Swept = Annotated[Any, BeforeValidator(number_from_yaml)]


def _in_order(values: list[Any]) -> list[Any]:
    """Return numbers by rising value, and words as they are written."""
    return sorted(values) if all(type(value) in (int, float) for value in values) else values


# A sweep's name becomes a folder of results and a target of Snakemake.
SweepName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]
# Folders of results and rules that a sweep must not take.
_TAKEN = {
    *("stage_a", "stress", "stage_b", "pivot", "study", "simulate", "train", "evaluate", "decide"),
    *("parity", "diagnose", "diagnostics", "reconstruct"),
}


class SuccessSettings(Settings):
    """What an arm must show; each condition that is set is judged by itself."""

    lowest_loss: bool = False
    """Its median best validation loss is the lowest of the stage."""
    no_failures: bool = False
    """None of its runs fails."""
    lowest_failure_rate: bool = False
    """No other arm fails less often."""
    fewer_failures_than_control: bool = False
    """It fails less often than the control."""
    max_loss_increase: NotNegative | None = None
    """Its median loss exceeds the control's by at most this fraction; null: not asked."""


class ArmSettings(Settings):
    """One arm: a hypothesis and the settings by which it differs from the base."""

    hypothesis: str
    """What the arm is expected to show, for the summary."""
    generator: dict[str, Any] = {}
    """Keys of the block `generator` that differ."""
    training: dict[str, Any] = {}
    """Keys of the block `training` that differ."""
    execution: dict[str, Any] = {}
    """Keys of the block `execution` that differ."""
    success: SuccessSettings = SuccessSettings()
    """Conditions to be judged; none: the arm is there for comparison."""


class StageSettings(Settings):
    """Which arms meet on which data, with which seeds."""

    dataset: Name
    """Entry of `datasets`; all arms and seeds use its bytes."""
    control: Name
    """The arm that the others are compared with."""
    arms: Annotated[list[Name], AtLeastOne, Different]
    """Entries of the block `arms`; the control among them."""
    seeds: SeedsOrLooks
    """Seeds of every arm: a list, how many (counted from 0), or planned looks."""

    @property
    def seed_list(self) -> list[int]:
        """The seeds that every run of the stage has, spelled out: with looks those of the first."""
        return seed_list(self.seeds.looks[0] if isinstance(self.seeds, Looks) else self.seeds)

    @model_validator(mode="after")
    def _has_its_control(self) -> Self:
        if self.control not in self.arms:
            raise ValueError(f"control '{self.control}' is not among the arms: {self.arms}")
        return self


class SweepSettings(Settings):
    """An arm, or several, at values of one or more of their settings; several keys make a grid.

    A value at which the arm equals an arm of the study is that arm: nothing is trained twice.
    """

    arm: Name | Annotated[list[Name], AtLeastOne, Different]
    """Entry of `arms` that is varied, or several."""
    sweep: Annotated[
        dict[str, Annotated[list[Swept], AtLeastOne, Different, AfterValidator(_in_order)]],
        Field(min_length=1, max_length=3),
    ]
    """Key of `generator`, `training` or `execution` -> values; numbers are shown by rising value.
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


class StressSettings(Settings):
    """The stress stage: every arm at rising learning rates, until it no longer learns.

    Rates are constant, without warm-up, which hides instabilities. Data and control are Stage A's.
    """

    arms: Annotated[list[Name], AtLeastOne, Different]
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
    cures: Annotated[list[Name], AtLeastOne, Different]
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


class Study(Settings):
    """A study: what is simulated, trained, compared."""

    title: Line
    """Heading of the summaries."""
    protocol: Literal["small", "medium", "full"]
    """Full: the protocol; small and medium: less, as their summaries say."""
    datasets: Annotated[dict[Name, Dataset], AtLeastOne]
    """Datasets by name."""
    generator: GeneratorSettings
    """The network that every arm starts from."""
    training: TrainingSettings
    """The training that every arm starts from."""
    execution: ExecutionSettings
    """The execution that every arm starts from."""
    seeds_per_job: Count = 1
    """Seeds of an arm that one job trains in turn: several save starting where runs are short."""
    evaluation: EvaluationSettings = EvaluationSettings()
    statistics: StatisticsSettings = StatisticsSettings()
    parity: ParitySettings = ParitySettings()
    """What `snakemake parity` compares."""
    diagnostics: DiagnosticsSettings = DiagnosticsSettings()
    arms: Annotated[dict[Name, ArmSettings], AtLeastOne]
    """Arms by name."""
    stage_a: StageSettings
    stress: StressSettings | None = None
    """The stress stage, loss against learning rate, target `stress_summary`; null: none."""
    sweeps: Annotated[
        dict[SweepName, SweepSettings], BeforeValidator(lambda block: block or {})
    ] = {}
    """Sweeps by name; each is a stage with the target `<name>_summary`."""
    stage_b: DepthSettings | None = None
    """Stage B, the deep test of Stage A's winner; null: there is none."""
    pivot: PivotSettings | None = None
    """The pivot: cures and a further arm at Stage B's depth; null: there is none."""
    decision: DecisionSettings | None = None
    """Gold, Silver, Pivot or Undecided; null: nothing is decided."""
    conventional: ConventionalSettings | None = None
    """A conventional reconstruction of the test split, beside the networks; null: none."""
    real_data: RealDataSettings | None = None
    """Real measurements, for the target `real_data_summary`; null: none."""

    def __hash__(self) -> int:
        """By identity, so that what is derived from a study can be kept for it."""
        return id(self)

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        stage, arms, stages = self.stage_a, list(self.arms), ["stage_a", *self.sweeps]
        stages += [name for name in ("stress", "stage_b", "pivot") if getattr(self, name)]
        _known("stage_a.dataset", [stage.dataset], self.datasets, "dataset")
        _known("stage_a.arms", stage.arms, arms, "arm")
        _known("parity.arm", [self.parity.arm], arms, "arm")
        _known("diagnostics.stages", self.diagnostics.stages or [], stages, "stage")
        for name, sweep in self.sweeps.items():
            if name in _TAKEN:
                raise ValueError(f"sweeps: '{name}' is taken by another stage; call it otherwise")
            _known(f"sweeps.{name}.arm", sweep.arm_list, arms, "arm")
            _known(f"sweeps.{name}.control", [sweep.control], arms, "arm")
            _known(f"sweeps.{name}.dataset", [sweep.dataset], self.datasets, "dataset")
        if self.stress is not None:
            _known("stress.arms", self.stress.arms, arms, "arm")
            if stage.control not in self.stress.arms:
                raise ValueError(f"stress.arms: must have Stage A's control, '{stage.control}'")
        if self.real_data is not None:
            _known("real_data.arms", self.real_data.arms, arms, "arm")
        return self

    @model_validator(mode="after")
    def _pivot_and_decision_fit(self) -> Self:
        pivot, stage, decision = self.pivot, self.stage_a, self.decision
        if pivot is None:
            if decision is not None:
                raise ValueError("decision: needs the blocks stage_b and pivot")
            return self
        if self.stage_b is None:
            raise ValueError("pivot: needs the block stage_b, which says the depth")
        _known("pivot.arm", [pivot.arm], self.arms, "arm")
        _known("pivot.cures", pivot.cures, stage.arms, "arm of Stage A")
        if stage.control in pivot.cures:
            raise ValueError(f"pivot.cures: '{stage.control}' is the control, which is no cure")
        if pivot.arm in (*pivot.cures, stage.control):
            raise ValueError(f"pivot.arm: '{pivot.arm}' is a cure or the control itself")
        if decision is not None:
            _known("decision.gold", [decision.gold], pivot.cures, "cure")
            _known("decision.silver", [decision.silver], pivot.cures, "cure")
        return self


def _known(where: str, names: Iterable[str | None], choices: Iterable[str], what: str) -> None:
    """Raise `ValueError` if one of the names that are given is not among the choices."""
    for name in names:
        if name is not None and name not in choices:
            raise ValueError(f"{where}: there is no {what} '{name}'{nearest(name, list(choices))}")
