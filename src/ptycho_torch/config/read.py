"""Read a study from YAML: one clear error with file, block and key, or a frozen `Study`."""

import itertools
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ptycho_torch.config.base import placed
from ptycho_torch.config.dataset import SimulatedDataset
from ptycho_torch.config.plan import stage_names, stage_plan
from ptycho_torch.config.study import Study, derive, fit_settings, run_settings
from ptycho_torch.runtime.disk import read_text
from ptycho_torch.runtime.errors import InputError


class _StrictLoader(yaml.SafeLoader):
    """A loader that refuses what YAML 1.1 silently reads otherwise than it is meant: a key written
    twice, of which it keeps the last, and 010 and 1:30, which are 8 and 90 to it."""


def _mapping_without_repeats(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key_node, _ in node.value:
        key, line = loader.construct_object(key_node), f"line {key_node.start_mark.line + 1}"
        if not isinstance(key, str):
            raise ValueError(f"{line}: a key must be a word, got {key}")
        if key in seen and not key_node.tag.endswith(":merge"):
            raise ValueError(f"{line}: '{key}' stands twice in its block")
        seen.add(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


def _decimal(loader: _StrictLoader, node: yaml.ScalarNode) -> int:
    if re.match(r"[-+]?0\d|.*:", node.value):
        line = node.start_mark.line + 1
        raise ValueError(f"line {line}: {node.value} is of base 8 or 60 in YAML; write it out")
    return loader.construct_yaml_int(node)


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping_without_repeats)
_StrictLoader.add_constructor("tag:yaml.org,2002:int", _decimal)


def _parsed(text: str) -> Any:
    """Return what a YAML text says; raises `InputError` alone."""
    try:
        return yaml.load(text, Loader=_StrictLoader)
    # The library raises any of these for what it cannot build, such as `!!int ''` or `!!bool x`.
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise InputError(f"is not YAML: {' '.join(str(error).split())}") from None


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds.

    Raises InputError if the file cannot be read, is not YAML or no mapping, or repeats a key.
    """
    text = read_text(path)
    with placed(f"{path}: "):
        data = _parsed(text)
        if not isinstance(data, dict):
            what = "nothing" if data is None else type(data).__name__
            raise InputError(f"expected blocks of keys (config/README.md), got {what}")
        return data


def parse_study(data: Mapping[str, Any], source: str) -> Study:
    """Return the study that nested mappings from `source`, a file or an option, describe.

    Raises InputError: `source: block.key: what is wrong, what came, what was expected`.
    """
    with placed(f"{source}: ", data):
        # Through JSON: Snakemake hands over OrderedDicts, strict classes want plain ones.
        study = Study.model_validate(json.loads(json.dumps(data, default=str)))
        _check(study)
        return study


def read_study(path: str | Path) -> Study:
    """Return the study in a YAML file; see `load_yaml` and `parse_study` for the errors."""
    return parse_study(load_yaml(path), str(path))


def read_sources(paths: Iterable[str | Path]) -> str:
    """Check files that Snakemake has read for what it does not see; return their names, short for
    those below the folder in use. Raises as `load_yaml`."""
    names = [str(path).removeprefix(f"{Path.cwd()}/") for path in paths]
    for name in names:
        load_yaml(name)
    return " + ".join(names) or "--config"


def typed_overrides(value: Any) -> Any:
    """Return what `--config` gave with its numbers, truths and lists as such.

    Snakemake reads nested values of `--config` as text throughout; what is no YAML is a text.
    """
    if isinstance(value, Mapping):
        return {key: typed_overrides(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [typed_overrides(inner) for inner in value]
    try:
        return _parsed(value) if isinstance(value, str) else value
    except InputError:
        return value


def _check(study: Study) -> None:
    """Raise `ValueError`, naming block and key, if what a study plans cannot be run."""
    stage, derived = study.stage_a, derive(study)
    trained = {f"'{arm}'": derived.blocks[arm] for arm in stage.arms}
    trained |= {f"'{arm}' in Stage B": derived.blocks[deep] for arm, deep in derived.deep.items()}
    for one, other in itertools.combinations(trained, 2):
        if trained[one] == trained[other]:
            raise ValueError(
                f"stage_a.arms: {one} and {other} have the very same settings; the same training "
                "would run twice. Give one a setting that differs, or take it out"
            )
    # Any arm of Stage A may win, and go to depth.
    runs = [(stage.dataset, arm) for arm in (*study.arms, *derived.deep.values())]
    for name in stage_names(study):
        plan = stage_plan(study, name, winner=stage.control)
        runs += [(plan.dataset, arm) for arm in plan.arms]
    for dataset, arm in dict.fromkeys(runs):
        batch = run_settings(study, dataset, arm, seed=0).training.batch_size
        if isinstance(data := study.datasets[dataset], SimulatedDataset):
            groups = data.images_per_split * data.groups_per_image(data.scan.train_step_px)
            if batch > groups:
                raise ValueError(
                    f"arms.{arm}: training.batch_size of {batch} is more than the {groups} groups "
                    f"of patches in datasets.{dataset}; only full batches train"
                )
    if (real := study.real_data) is not None:
        for name, label in itertools.product(real.measurements, real.networks):
            fit_settings(study, name, label, seed=0)
