"""Do the blocks of a study fit each other? One clear error where they do not."""

from typing import TYPE_CHECKING

from pydantic import ValidationError

from ptycho_torch.config.dataset import SimulatedDataset
from ptycho_torch.config.fresh import fresh_networks
from ptycho_torch.config.generator import plan_levels
from ptycho_torch.config.plan import deep, settings_key, stage_names, stage_plan
from ptycho_torch.config.real_plan import check_real_data
from ptycho_torch.config.stages import repeated
from ptycho_torch.config.variants import BLOCKS
from ptycho_torch.runtime.errors import nearest

if TYPE_CHECKING:
    from ptycho_torch.config.study import Study

# SSIM's window; a smaller image has no score.
_LEAST_SIDE_PX = 7

# Folders of results and rules that a sweep must not take.
_TAKEN = {
    *("stage_a", "stage_b", "pivot", "study", "simulate", "train", "evaluate", "decide"),
    *("parity", "diagnose", "diagnostics", "reconstruct"),
}


def check_study(study: "Study") -> None:
    """Raise `ValueError`, naming block and key, if the blocks of a study do not fit."""
    for name, settings in study.arms.items():
        if not settings.hypothesis.strip():
            raise ValueError(f"arms.{name}.hypothesis: must say something")
    _check_names(study)
    for name in study.arms:
        _check_run(study, study.stage_a.dataset, name)
    _check_twins(study)
    if study.stage_b is not None:
        for arm in study.stage_a.arms:  # Any of them may win.
            if deep(study, arm) == arm:
                raise ValueError(
                    f"stage_b.fno_blocks: {study.stage_b.fno_blocks} is the depth that '{arm}' has "
                    "already in Stage A; take another depth, or that arm out of stage_a.arms"
                )
            _check_run(study, study.stage_a.dataset, deep(study, arm))
    for stage in stage_names(study):
        plan = stage_plan(study, stage, winner=study.stage_a.control)
        for arm in plan.arms:
            _check_run(study, plan.dataset, arm)
    check_real_data(study)
    _check_diagnostics(study)


def _check_diagnostics(study: "Study") -> None:
    for stage in study.diagnostics.stages or []:
        _known(stage, stage_names(study), "diagnostics.stages", "stage")
    patch_px = study.datasets[study.stage_a.dataset].patch_px
    for name, network in fresh_networks(study).items():
        try:
            plan_levels(network.generator, patch_px)
        except ValueError as error:
            raise ValueError(
                f"diagnostics.depths: {name} cannot be built: {error}; take other depths"
            ) from None


def _check_twins(study: "Study") -> None:
    """Refuse arms of Stage A that are one and the same run, and names that share a folder."""
    seen: dict[str, str] = {}
    for arm in study.stage_a.arms:
        twin = seen.setdefault(settings_key(study, arm), arm)
        if twin != arm:
            raise ValueError(
                f"stage_a.arms: '{arm}' has the very settings of '{twin}'; the same training would "
                "run twice. Give it a setting that differs, or take it out"
            )
    folders: dict[str, str] = {}
    for arm in study.arms:
        other = folders.setdefault(arm.casefold(), arm)
        if other != arm:
            raise ValueError(
                f"arms: '{other}' and '{arm}' would share a folder where file names have no case"
            )


def _check_names(study: "Study") -> None:
    stage = study.stage_a
    arms, datasets = list(study.arms), list(study.datasets)
    _known(stage.dataset, datasets, "stage_a.dataset", "dataset")
    for arm in stage.arms:
        _known(arm, arms, "stage_a.arms", "arm")
    if study.parity.arm is not None:
        _known(study.parity.arm, arms, "parity.arm", "arm")
    for name, sweep in study.sweeps.items():
        if name in _TAKEN:
            raise ValueError(f"sweeps: '{name}' is taken by another stage; call it otherwise")
        _known(sweep.arm, arms, f"sweeps.{name}.arm", "arm")
        if sweep.control is not None:
            _known(sweep.control, arms, f"sweeps.{name}.control", "arm")
        if sweep.dataset is not None:
            _known(sweep.dataset, datasets, f"sweeps.{name}.dataset", "dataset")
    if study.pivot is not None:
        if study.stage_b is None:
            raise ValueError("pivot: needs the block stage_b, which says the depth")
        _known(study.pivot.arm, arms, "pivot.arm", "arm")
        repeated("pivot.cures", study.pivot.cures)
        if stage.control in study.pivot.cures:
            raise ValueError(f"pivot.cures: '{stage.control}' is the control, which is no cure")
        for arm in study.pivot.cures:
            _known(arm, stage.arms, "pivot.cures", "arm of Stage A")
        if study.pivot.arm in (*study.pivot.cures, stage.control):
            raise ValueError(f"pivot.arm: '{study.pivot.arm}' is a cure or the control itself")
    if study.decision is not None:
        if study.pivot is None:
            raise ValueError("decision: needs the blocks stage_b and pivot")
        for key in ("gold", "silver"):
            _known(getattr(study.decision, key), study.pivot.cures, f"decision.{key}", "cure")


def _known(name: str, names: list[str], where: str, what: str) -> None:
    if name not in names:
        raise ValueError(f"{where}: there is no {what} '{name}'{nearest(name, names)}")


def _check_run(study: "Study", dataset: str, arm: str) -> None:
    where = _where(study, arm)
    try:
        run = study.run(dataset, arm, seed=0)
    except ValidationError as error:
        from ptycho_torch.config.read import first_mistakes

        blocks = (
            {b: getattr(study.arms[arm], b) for b in BLOCKS}
            if arm in study.arms
            else study.variants[arm].overrides()
        )
        dot = "." if arm in study.arms else ": "
        raise ValueError(f"{where}{dot}{first_mistakes(error, blocks)}") from None
    schedule = run.training.schedule
    if schedule.name == "warmup_cosine" and schedule.warmup_epochs >= run.training.epochs:
        raise ValueError(
            f"{where}: training.schedule.warmup_epochs of {schedule.warmup_epochs:g} never "
            f"ends in {run.training.epochs} epochs"
        )
    data = study.datasets[dataset]
    if isinstance(data, SimulatedDataset):
        _check_trim(study, dataset, data)
        groups = data.images_per_split * groups_per_image(data, data.scan.train_step_px)
        if run.training.batch_size > groups:
            raise ValueError(
                f"{where}: training.batch_size of {run.training.batch_size} is more than "
                f"the {groups} groups of patches in datasets.{dataset}; only full batches train"
            )


def _where(study: "Study", arm: str) -> str:
    """Return the block that an arm, or a variant of one, comes from."""
    if arm in study.arms:
        return f"arms.{arm}"
    variant = study.variants[arm]
    return f"arms.{variant.base} with {variant.label()}"


def _check_trim(study: "Study", name: str, data: SimulatedDataset) -> None:
    left = _stitched_side(data) - 2 * study.evaluation.trim_px
    if left < _LEAST_SIDE_PX:
        raise ValueError(
            f"evaluation.trim_px of {study.evaluation.trim_px} leaves {left} px of the image "
            f"that the test scan of datasets.{name} stitches; {_LEAST_SIDE_PX} are needed"
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
