"""Can everything that a study plans be run?"""

import itertools

from pydantic import ValidationError

from ptycho_torch.config.arms import deep, derive, fit_settings, run_settings
from ptycho_torch.config.base import mistakes
from ptycho_torch.config.dataset import SimulatedDataset
from ptycho_torch.config.generator import plan_levels
from ptycho_torch.config.plan import stage_names, stage_plan, untrained_networks
from ptycho_torch.config.study import Study

# SSIM's window; a smaller image has no score.
_LEAST_SIDE_PX = 7


def check_study(study: Study) -> None:
    """Raise `ValueError`, naming block and key, if what a study plans cannot be run."""
    stage, blocks = study.stage_a, derive(study).blocks
    for twin, arm in itertools.combinations(stage.arms, 2):
        if blocks[arm] == blocks[twin]:
            raise ValueError(
                f"stage_a.arms: '{arm}' has the very settings of '{twin}'; the same training "
                "would run twice. Give it a setting that differs, or take it out"
            )
    runs = [(stage.dataset, arm) for arm in study.arms]
    if study.stage_b is not None:
        for arm in stage.arms:  # Any of them may win.
            runs.append((stage.dataset, deep(study, arm)))
            if deep(study, arm) == arm:
                raise ValueError(
                    f"stage_b.fno_blocks: {study.stage_b.fno_blocks} is the depth that '{arm}' has "
                    "already in Stage A; take another depth, or that arm out of stage_a.arms"
                )
    for name in stage_names(study):
        plan = stage_plan(study, name, winner=stage.control)
        runs += [(plan.dataset, arm) for arm in plan.arms]
    for dataset, arm in dict.fromkeys(runs):
        _check_run(study, dataset, arm)
    for name, network in untrained_networks(study).items():
        try:
            plan_levels(network.generator, study.datasets[stage.dataset].patch_px)
        except ValueError as error:
            raise ValueError(f"diagnostics.depths: {name} cannot be built: {error}") from None
    if (real := study.real_data) is not None:
        for name, label in itertools.product(real.measurements, real.networks):
            patch_px = real.measurements[name].reading.patch_px
            try:
                fit_settings(study, name, label, 0).run(patch_px or 0)
            except ValidationError as error:
                what = mistakes(error)[0]
                raise ValueError(f"real_data: network '{label}' on '{name}': {what}") from None


def _check_run(study: Study, dataset: str, arm: str) -> None:
    variant = derive(study).variants.get(arm)
    where = f"arms.{arm}." if variant is None else f"arms.{variant.base} with {variant.label()}: "
    try:
        run = run_settings(study, dataset, arm, seed=0)
    except ValidationError as error:
        raise ValueError(f"{where}{mistakes(error)[0]}") from None
    data, batch = study.datasets[dataset], run.training.batch_size
    if not isinstance(data, SimulatedDataset):
        return
    step = data.scan.test_step_px
    left = (data.room_px // step + 1) * step - 2 * study.evaluation.trim_px
    if left < _LEAST_SIDE_PX:
        raise ValueError(
            f"evaluation.trim_px of {study.evaluation.trim_px} leaves {left} px of the image "
            f"that the test scan of datasets.{dataset} stitches; {_LEAST_SIDE_PX} are needed"
        )
    groups = data.images_per_split * data.groups_per_image(data.scan.train_step_px)
    if batch > groups:
        raise ValueError(
            f"{where}training.batch_size of {batch} is more than the {groups} groups of patches in "
            f"datasets.{dataset}; only full batches train"
        )
