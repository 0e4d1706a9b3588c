"""The whole study in one frozen object, and the settings of one run taken from it."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from ptycho_torch.config.base import Line, Name, NotNegative, Settings
from ptycho_torch.config.dataset import Dataset
from ptycho_torch.config.diagnostics import DiagnosticsSettings
from ptycho_torch.config.evaluation import EvaluationSettings, StatisticsSettings
from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.parity import ParitySettings
from ptycho_torch.config.real_data import RealDataSettings
from ptycho_torch.config.reconstruct import ConventionalSettings
from ptycho_torch.config.run import RunSettings
from ptycho_torch.config.stages import (
    DecisionSettings,
    DepthSettings,
    PivotSettings,
    StageSettings,
    SweepSettings,
)
from ptycho_torch.config.training import ExecutionSettings, TrainingSettings
from ptycho_torch.config.variants import BLOCKS, Variant

if TYPE_CHECKING:
    from ptycho_torch.config.plan import Derived

# Blocks with a kind: an arm that names another kind replaces the whole block,
# since the keys of one kind mean nothing to another.
_BLOCKS_WITH_KIND: dict[tuple[str, ...], str] = {
    ("execution", "clip"): "gradient_clip_algorithm",
    ("training", "optimizer"): "name",
    ("training", "schedule"): "name",
}

# A sweep's name becomes a folder of results and a target of Snakemake.
SweepName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]


def _none_is_empty(value: Any) -> Any:
    """Take a block whose entries are all commented out for an empty one."""
    return {} if value is None else value


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


class Study(Settings):
    """A study: what is simulated, trained, compared."""

    title: Line
    """Heading of the summaries."""

    protocol: Literal["small", "full"]
    """Small: a study that ends in minutes, and whose summary says so; full: the protocol."""

    datasets: Annotated[dict[Name, Dataset], Field(min_length=1)]
    """Datasets by name."""

    generator: GeneratorSettings
    """The network that every arm starts from."""

    training: TrainingSettings
    """The training that every arm starts from."""

    execution: ExecutionSettings
    """The execution that every arm starts from."""

    evaluation: EvaluationSettings = EvaluationSettings()
    """How reconstructions are judged."""

    statistics: StatisticsSettings = StatisticsSettings()
    """How certain a claim has to be."""

    parity: ParitySettings = ParitySettings()
    """What `snakemake parity` compares."""

    diagnostics: DiagnosticsSettings = DiagnosticsSettings()
    """What the diagnoses look at, and their thresholds."""

    arms: Annotated[dict[Name, ArmSettings], Field(min_length=1)]
    """Arms by name."""

    stage_a: StageSettings
    """Stage A, the shootout."""

    sweeps: Annotated[dict[SweepName, SweepSettings], BeforeValidator(_none_is_empty)] = {}
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

    @cached_property
    def derived(self) -> "Derived":
        """Arms that sweeps and depth derive from the named ones."""
        from ptycho_torch.config.plan import find_variants

        return find_variants(self)

    @property
    def variants(self) -> dict[str, Variant]:
        """Arms that sweeps and depth derive from the named ones, by name."""
        return self.derived.variants

    def arm(self, name: str) -> ArmSettings:
        """Return an arm, or what a variant of one is: without conditions of its own."""
        if name in self.arms:
            return self.arms[name]
        variant = self.variants[name]
        return self.arms[variant.base].model_copy(
            update={
                "hypothesis": f"{variant.base} with {variant.label()}",
                "success": SuccessSettings(),
            }
        )

    def blocks(self, name: str) -> dict[str, Any]:
        """Return the blocks in force for an arm or a variant, nested; worked out once."""
        return self._arm_blocks[name] if name in self.arms else self.derived.blocks[name]

    @cached_property
    def _arm_blocks(self) -> dict[str, dict[str, Any]]:
        return {arm: self.blocks_of(arm) for arm in self.arms}

    def blocks_of(self, arm: str, variant: Variant | None = None) -> dict[str, Any]:
        """Return the blocks of an arm, with a variant's changes laid over them.

        Defaults that a block leaves out are filled in, so that equal settings compare equal
        and every one of them can be swept; a block that is not valid is left as it is written.
        """
        layers = [{block: getattr(self.arms[arm], block) for block in BLOCKS}]
        if variant is not None:
            layers.append(variant.overrides())
        found = {block: getattr(self, block).model_dump() for block in BLOCKS}
        for layer in layers:
            found = {b: _settled(b, merge(found[b], layer.get(b, {}), (b,))) for b in BLOCKS}
        return found

    def run(self, dataset: str, arm: str, seed: int) -> RunSettings:
        """Return the settings of one run; only the base and this arm's blocks enter.

        Raises
        ------
        ValueError
            If the arm is unknown or its settings are impossible; names the block and the key.
        """
        patch_px = self.datasets[dataset].patch_px
        return RunSettings(
            dataset=dataset, patch_px=patch_px, arm=arm, seed=seed, **self.blocks(arm)
        )

    @model_validator(mode="after")
    def _stages_fit(self) -> "Study":
        from ptycho_torch.config.checks import check_study

        check_study(self)
        return self


def _settled(block: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return a block with its defaults filled in and its numbers read; as it is if not valid."""
    kinds: dict[str, type[Settings]] = {
        "generator": GeneratorSettings,
        "training": TrainingSettings,
        "execution": ExecutionSettings,
    }
    try:
        return kinds[block].model_validate(values).model_dump()
    except ValidationError:  # Told where the run is checked, with its place.
        return values


def merge(
    base: Mapping[str, Any], override: Mapping[str, Any], where: tuple[str, ...]
) -> dict[str, Any]:
    """Return `base` with `override` laid over it, block by block."""
    kind = _BLOCKS_WITH_KIND.get(where)
    if kind is not None and kind in override:
        return dict(override)
    merged = dict(base)
    for key, value in override.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = merge(below, value, (*where, key))
        else:
            merged[key] = value
    return merged
