"""The whole study in one frozen object, and the settings of one run taken from it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from ptycho_torch.config.base import Count, Line, Name, NotNegative, Seed, Settings, nearest
from ptycho_torch.config.dataset import Dataset, SimulatedDataset
from ptycho_torch.config.evaluation import EvaluationSettings, StatisticsSettings
from ptycho_torch.config.generator import GeneratorSettings, plan_levels
from ptycho_torch.config.training import ExecutionSettings, TrainingSettings

# Blocks with a kind: an arm that names another kind replaces the whole block,
# since the keys of one kind mean nothing to another.
_BLOCKS_WITH_KIND: dict[tuple[str, ...], str] = {
    ("execution", "clip"): "gradient_clip_algorithm",
    ("training", "optimizer"): "name",
    ("training", "schedule"): "name",
}


# SSIM's window; a smaller image has no score.
_LEAST_SIDE_PX = 7


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

    arms: Annotated[list[Name], Field(min_length=1)]
    """Entries of the block `arms`; the control among them."""

    seeds: Annotated[int, Field(ge=1, le=1000)] | Annotated[list[Seed], Field(min_length=1)]
    """Seeds of every arm: a list, or how many (counted from 0)."""

    @property
    def seed_list(self) -> list[int]:
        """The seeds, spelled out."""
        return list(range(self.seeds)) if isinstance(self.seeds, int) else list(self.seeds)

    @model_validator(mode="after")
    def _names_are_clear(self) -> "StageSettings":
        for key, values in (("arms", self.arms), ("seeds", list(map(str, self.seed_list)))):
            twice = sorted({v for v in values if values.count(v) > 1})
            if twice:
                raise ValueError(f"{key} names {', '.join(twice)} more than once")
        if self.control not in self.arms:
            raise ValueError(f"control '{self.control}' is not among the arms: {self.arms}")
        return self


class RunSettings(Settings):
    """Everything that decides one training run, and nothing else."""

    dataset: Name
    """Name of the dataset."""

    patch_px: Count
    """Side of its patches, pixels."""

    arm: Name
    """Name of the arm."""

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

    arms: Annotated[dict[Name, ArmSettings], Field(min_length=1)]
    """Arms by name."""

    stage_a: StageSettings
    """Stage A, the shootout."""

    def run(self, dataset: str, arm: str, seed: int) -> RunSettings:
        """Return the settings of one run; only the base and this arm's block enter.

        Raises
        ------
        ValueError
            If the arm is unknown or its settings are impossible; names the block and the key.
        """
        blocks = {
            block: merge(
                getattr(self, block).model_dump(), getattr(self.arms[arm], block), (block,)
            )
            for block in ("generator", "training", "execution")
        }
        patch_px = self.datasets[dataset].patch_px
        return RunSettings(dataset=dataset, patch_px=patch_px, arm=arm, seed=seed, **blocks)  # type: ignore[arg-type]

    @model_validator(mode="after")
    def _stages_fit(self) -> "Study":
        for name, settings in self.arms.items():
            if not settings.hypothesis.strip():
                raise ValueError(f"arms.{name}.hypothesis: must say something")
        stage, where = self.stage_a, "stage_a"
        if stage.dataset not in self.datasets:
            raise ValueError(
                f"{where}.dataset: there is no dataset '{stage.dataset}'"
                f"{nearest(stage.dataset, list(self.datasets))}"
            )
        for arm in stage.arms:
            if arm not in self.arms:
                raise ValueError(
                    f"{where}.arms: there is no arm '{arm}'{nearest(arm, list(self.arms))}"
                )
        for name in self.arms:
            self._check_run(stage.dataset, name)
        return self

    def _check_trim(self, name: str, data: SimulatedDataset) -> None:
        left = _stitched_side(data) - 2 * self.evaluation.trim_px
        if left < _LEAST_SIDE_PX:
            raise ValueError(
                f"evaluation.trim_px of {self.evaluation.trim_px} leaves {left} px of the image "
                f"that the test scan of datasets.{name} stitches; {_LEAST_SIDE_PX} are needed"
            )

    def _check_run(self, dataset: str, arm: str) -> None:
        try:
            run = self.run(dataset, arm, seed=0)
        except ValidationError as error:
            from ptycho_torch.config.read import first_mistakes

            blocks = {b: getattr(self.arms[arm], b) for b in ("generator", "training", "execution")}
            raise ValueError(f"arms.{arm}.{first_mistakes(error, blocks)}") from None
        data = self.datasets[dataset]
        schedule = run.training.schedule
        if schedule.name == "warmup_cosine" and schedule.warmup_epochs >= run.training.epochs:
            raise ValueError(
                f"arms.{arm}: training.schedule.warmup_epochs of {schedule.warmup_epochs:g} never "
                f"ends in {run.training.epochs} epochs"
            )
        if isinstance(data, SimulatedDataset):
            self._check_trim(dataset, data)
            groups = data.images_per_split * groups_per_image(data, data.scan.train_step_px)
            if run.training.batch_size > groups:
                raise ValueError(
                    f"arms.{arm}: training.batch_size of {run.training.batch_size} is more than "
                    f"the {groups} groups of patches in datasets.{dataset}; only full batches train"
                )


def _stitched_side(data: SimulatedDataset) -> int:
    """Return the side of the image that the central tiles of the test scan make, pixels."""
    step = data.scan.test_step_px
    offset = data.scan.group_offset_px if data.scan.gridsize == 2 else 0
    return int((data.object.size_px - data.patch_px - offset) // step + 1) * step


def groups_per_image(data: SimulatedDataset, step_px: int) -> int:
    """Return how many groups of patches a raster of this step takes from one object."""
    offset = data.scan.group_offset_px if data.scan.gridsize == 2 else 0
    side: int = (data.object.size_px - data.patch_px - offset) // step_px + 1
    return side * side


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
