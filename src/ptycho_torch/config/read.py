"""Read a study from YAML: one clear error with file, block and key, or a frozen `Study`."""

import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ptycho_torch.config.arms import derive, fit_settings, placed, run_settings
from ptycho_torch.config.base import mistake
from ptycho_torch.config.dataset import SimulatedDataset
from ptycho_torch.config.generator import plan_levels
from ptycho_torch.config.plan import stage_names, stage_plan, untrained_networks
from ptycho_torch.config.study import Study
from ptycho_torch.runtime.disk import read_text
from ptycho_torch.runtime.errors import InputError

# SSIM's window; a smaller image has no score.
_LEAST_SIDE_PX = 7


class _StrictLoader(yaml.SafeLoader):
    """A loader that refuses a key written twice, of which YAML would silently keep the last."""


def _mapping_without_repeats(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key_node, _ in node.value:
        key, line = loader.construct_object(key_node), f"line {key_node.start_mark.line + 1}"
        if not isinstance(key, str):
            raise InputError(f"{line}: a key must be a word, got {key}")
        if key in seen and not key_node.tag.endswith(":merge"):
            raise InputError(f"{line}: '{key}' stands twice in its block")
        seen.add(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping_without_repeats)


def _parsed(text: str) -> Any:
    """Return what a YAML text says; raises `InputError` alone."""
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except InputError:
        raise
    # The library raises any of these for what it cannot build, such as `!!int ''` or `!!bool x`.
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise InputError(f"is not YAML: {' '.join(str(error).split())}") from None


def load_yaml(path: str | Path, name: str | None = None) -> dict[str, Any]:
    """Return the mapping that a YAML file holds; an error is of the file `name`.

    Raises InputError if the file cannot be read, is not YAML or no mapping, or repeats a key.
    """
    name = name or str(path)
    try:
        data = _parsed(read_text(path))
    except InputError as error:
        raise InputError(f"{name}: {str(error).removeprefix(f'{path}: ')}") from None
    if not isinstance(data, dict):
        what = "nothing" if data is None else type(data).__name__
        raise InputError(f"{name}: expected blocks of keys (config/README.md), got {what}")
    return data


def parse_study(data: Mapping[str, Any], source: str) -> Study:
    """Return the study that nested mappings from `source`, a file or an option, describe.

    Raises InputError: `source: block.key: what is wrong, what came, what was expected`.
    """
    try:
        # Through JSON: Snakemake hands over OrderedDicts, strict classes want plain ones.
        study = Study.model_validate(json.loads(json.dumps(data)))
        _check(study)
    except ValidationError as error:
        raise mistake(source, error, data) from None
    except (TypeError, ValueError) as error:
        raise InputError(f"{source}: {error}") from None
    return study


def read_study(path: str | Path) -> Study:
    """Return the study in a YAML file; see `load_yaml` and `parse_study` for the errors."""
    return parse_study(load_yaml(path), str(path))


def read_sources(paths: Iterable[str | Path], *, project: Path) -> str:
    """Check files that Snakemake has read for what it does not see; return their names.

    A file of the project is named as people type it, another one in full. Raises as `load_yaml`.
    """
    names = []
    for path in (Path(path).absolute() for path in paths):
        names.append(str(path).removeprefix(f"{project}/"))
        load_yaml(path, names[-1])
    return " + ".join(names) or "--config"


def typed_overrides(value: Any) -> Any:
    """Return what `--config` gave with its numbers, truths and lists as such.

    Snakemake reads nested values of `--config` as text throughout; what is no YAML is a text.
    """
    if isinstance(value, Mapping):
        return {key: typed_overrides(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [typed_overrides(inner) for inner in value]
    if not isinstance(value, str):
        return value
    try:
        return _parsed(value)
    except InputError:
        return value


def _check(study: Study) -> None:
    """Raise `ValueError`, naming block and key, if what a study plans cannot be run."""
    stage, derived = study.stage_a, derive(study)
    for twin, arm in itertools.combinations(stage.arms, 2):
        if derived.blocks[arm] == derived.blocks[twin]:
            raise ValueError(
                f"stage_a.arms: '{arm}' has the very settings of '{twin}'; the same training "
                "would run twice. Give it a setting that differs, or take it out"
            )
    for arm in stage.arms:
        if study.stage_b is not None and derived.deep[arm] == arm:
            raise ValueError(
                f"stage_b.fno_blocks: {study.stage_b.fno_blocks} is the depth that '{arm}' has "
                "already in Stage A; take another depth, or that arm out of stage_a.arms"
            )
    # Any arm of Stage A may win, and go to depth.
    runs = [(stage.dataset, arm) for arm in (*study.arms, *derived.deep.values())]
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
            with placed(f"real_data: network '{label}' on '{name}': "):
                fit_settings(study, name, label, 0).run(patch_px or 0)


def _check_run(study: Study, dataset: str, arm: str) -> None:
    variant = derive(study).variants.get(arm)
    where = f"arms.{arm}." if variant is None else f"arms.{variant.base} with {variant.label()}: "
    with placed(where):
        run = run_settings(study, dataset, arm, seed=0)
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
