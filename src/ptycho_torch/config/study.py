"""A study in one object, and the settings in force: of each arm, of the variants that sweeps, depth
and stress derive, of each run.

A variant whose settings are those of a named arm is that arm, and of two equal variants there is
one: the same training is never run twice for two stages.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BeforeValidator, model_validator

from ptycho_torch.config.base import AtLeastOne, Count, Line, Name, Settings, merge, placed
from ptycho_torch.config.dataset import Dataset, SimulatedDataset
from ptycho_torch.config.evaluation import (
    SSIM_WINDOW_PX,
    DiagnosticsSettings,
    EvaluationSettings,
    ParitySettings,
    StatisticsSettings,
    SuccessSettings,
)
from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.scan import ConventionalSettings, FitSettings, GroupSettings
from ptycho_torch.config.stages import (
    DEPTH,
    TAKEN,
    DecisionSettings,
    DepthSettings,
    PivotSettings,
    RealDataSettings,
    StageSettings,
    StressSettings,
    SweepName,
    SweepSettings,
    Variant,
)
from ptycho_torch.config.training import ExecutionSettings, RunBlocks, RunSettings, TrainingSettings
from ptycho_torch.runtime.errors import InputError, nearest

BLOCKS = tuple(RunBlocks.model_fields)


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
    sweeps: Annotated[dict[SweepName, SweepSettings], BeforeValidator(lambda b: b or {})] = {}
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

    # By identity, so that what is derived from a study can be kept for it.
    __hash__ = object.__hash__

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        stage, arms, stages = self.stage_a, list(self.arms), ["stage_a", *self.sweeps]
        stages += [name for name in ("stress", "stage_b", "pivot") if getattr(self, name)]
        _known("stage_a.dataset", [stage.dataset], self.datasets, "dataset")
        _known("stage_a.arms", stage.arms, arms, "arm")
        _known("stage_a.control", [stage.control], stage.arms, "arm of Stage A")
        _known("diagnostics.stages", self.diagnostics.stages or [], stages, "stage")
        for name, sweep in self.sweeps.items():
            if name in TAKEN:
                raise ValueError(f"sweeps: '{name}' is taken by another stage; call it otherwise")
            _known(f"sweeps.{name}.arm", sweep.arm_list, arms, "arm")
            _known(f"sweeps.{name}.control", [sweep.control], arms, "arm")
            _known(f"sweeps.{name}.dataset", [sweep.dataset], self.datasets, "dataset")
        if self.stress is not None:
            _known("stress.arms", self.stress.arms, arms, "arm")
            _known("stage_a.control", [stage.control], self.stress.arms, "arm of the stress stage")
        if self.real_data is not None:
            _known("real_data.arms", self.real_data.arms, arms, "arm")
        return self

    @model_validator(mode="after")
    def _images_can_be_scored(self) -> Self:
        trim = self.evaluation.trim_px
        for name, data in self.datasets.items():
            if isinstance(data, SimulatedDataset) and data.stitched_px - 2 * trim < SSIM_WINDOW_PX:
                raise ValueError(
                    f"evaluation.trim_px of {trim} leaves {data.stitched_px - 2 * trim} px of the "
                    f"image that the test scan of datasets.{name} stitches; {SSIM_WINDOW_PX} are "
                    "needed"
                )
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
        arms = [stage.control, *pivot.cures, pivot.arm]
        if len(set(arms)) < len(arms):
            raise ValueError(f"pivot: control, cures and arm must be different, got {arms}")
        if decision is not None:
            _known("decision.gold", [decision.gold], pivot.cures, "cure")
            _known("decision.silver", [decision.silver], pivot.cures, "cure")
        return self


def _known(where: str, names: Iterable[str | None], choices: Iterable[str], what: str) -> None:
    """Raise `ValueError` if one of the names that are given is not among the choices."""
    for name in names:
        if name is not None and name not in choices:
            raise ValueError(f"{where}: there is no {what} '{name}'{nearest(name, list(choices))}")


class GridPoint(NamedTuple):
    """An arm of the stress stage at one depth and learning rate; `name`: that of its runs."""

    name: str
    arm: str
    depth: int
    rate: float


class Derived(NamedTuple):
    """Everything that a study can run. A variant's runs are kept under the name of an arm, or of
    another variant, that has the same settings, or else under its own."""

    variants: dict[str, Variant]
    """By name, without those that equal an arm or another variant."""
    blocks: dict[str, dict[str, Any]]
    """Of each arm and variant, by its name: the blocks in force."""
    sweeps: dict[str, list[tuple[Variant, str]]]
    """Of each sweep: its variants, arm by arm, and the name of their runs."""
    grid: tuple[GridPoint, ...]
    """The stress stage: arm by arm, by depth, by rising rate."""
    deep: dict[str, str]
    """Arm -> name of its runs at Stage B's depth."""

    @property
    def bases(self) -> dict[str, str]:
        """Name of each variant -> the arm that it is one of."""
        return {name: variant.base for name, variant in self.variants.items()}


@lru_cache(maxsize=8)
def derive(study: Study) -> Derived:
    """Return the arms, and every variant of one that some stage may run, with their settings.

    Raises InputError, which says the place, if settings are impossible, a key of a sweep is
    unknown, or two variants of different settings have one name.
    """
    base = {block: getattr(study, block).model_dump() for block in BLOCKS}
    base["generator"].pop("source")  # Of another network than an arm's own.
    blocks = {
        name: _laid_over(base, arm.model_dump(include=set(BLOCKS)), f"arms.{name}.")
        for name, arm in study.arms.items()
    }
    variants: dict[str, Variant] = {}

    def name_of(variant: Variant, where: str) -> str:
        base = blocks[variant.base]
        settings = _laid_over(base, variant.overrides(), f"arms.{variant}: ")
        # Of equal arms the one that is varied, as a reader expects.
        equal = (name for name in (variant.base, *blocks) if blocks[name] == settings)
        name = next(equal, variant.name)
        if blocks.setdefault(name, settings) != settings:
            raise InputError(
                f"{where}: '{name}' is already the name of a run with other settings; "
                "rename the arm or sweep under another one"
            )
        if name == variant.name and name not in study.arms:
            variants[name] = variant
        return name

    sweeps = {}
    for name, sweep in study.sweeps.items():
        with placed(f"sweeps.{name}.sweep: "):
            swept = [each for arm in sweep.arm_list for each in sweep.variants(arm, blocks[arm])]
        sweeps[name] = [(each, name_of(each, f"sweeps.{name}")) for each in swept]
    grid = tuple(
        GridPoint(name_of(variant, "stress"), variant.base, depth, rate)
        for variant, depth, rate in (study.stress.points(blocks) if study.stress else ())
    )
    deeper: dict[str, str] = {}
    if study.stage_b is not None:
        change = ((DEPTH, study.stage_b.fno_blocks),)
        arms = [*study.stage_a.arms, *([study.pivot.arm] if study.pivot else [])]
        deeper = {arm: name_of(Variant(arm, change), "stage_b") for arm in dict.fromkeys(arms)}
    return Derived(variants, blocks, sweeps, grid, deeper)


def _laid_over(base: Mapping[str, Any], over: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return blocks with others laid over them, numbers read and defaults filled in."""
    data = merge(base, over)
    with placed(place, data):
        return RunBlocks.model_validate(data).model_dump()


def arm_settings(study: Study, name: str) -> ArmSettings:
    """Return an arm, or what a variant of one is: without conditions of its own."""
    variant = derive(study).variants.get(name)
    return study.arms[name] if variant is None else ArmSettings(hypothesis=str(variant))


def run_settings(study: Study, dataset: str, arm: str, seed: int) -> RunSettings:
    """Return the settings of one run; only the base and this arm's blocks enter.

    Raises InputError if the network cannot be built for the dataset's patches.
    """
    patch_px, derived = study.datasets[dataset].patch_px, derive(study)
    variant = derived.variants.get(arm)
    with placed(f"arms.{variant}: " if variant else f"arms.{arm}."):
        return RunSettings(
            dataset=dataset, patch_px=patch_px, arm=arm, seed=seed, **derived.blocks[arm]
        )


def fit_settings(study: Study, measurement: str, label: str, seed: int) -> FitSettings:
    """Return everything that decides one training on a measurement; only the base, this arm's
    blocks and those of `real_data` enter. Raises InputError if the settings are impossible.
    """
    real = study.real_data
    assert real is not None
    arm, gridsize = real.networks[label]
    place = f"real_data: network '{label}' on '{measurement}': "
    over = {"generator": real.generator, "training": real.training}
    blocks = _laid_over(derive(study).blocks[arm], over, place)
    with placed(place):
        fit = FitSettings(
            name=measurement,
            arm=arm,
            seed=seed,
            groups=GroupSettings(gridsize=gridsize),
            validation_fraction=real.validation_fraction,
            **blocks,
        )
        fit.run(real.measurements[measurement].reading.patch_px)
    return fit
