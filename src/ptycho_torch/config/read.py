"""Read a study from YAML: one clear error with file, block and key, or a frozen `Study`."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ptycho_torch.config.base import mistake
from ptycho_torch.config.check import check_study
from ptycho_torch.config.study import Study
from ptycho_torch.runtime.disk import read_text
from ptycho_torch.runtime.errors import InputError


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


# Of YAML 1.1, and hardly ever meant: 010 is 8, and 1:30 is 90.
_OLD_NUMBER = re.compile(r"[-+]?(0[0-7_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")


def _plain_number(loader: _StrictLoader, node: yaml.ScalarNode) -> Any:
    number = getattr(loader, f"construct_yaml_{node.tag.rpartition(':')[2]}")(node)
    if _OLD_NUMBER.fullmatch(node.value):
        raise InputError(
            f"line {node.start_mark.line + 1}: {node.value} is {number} in YAML (base 8 or 60); "
            "write it in decimal digits without a leading 0"
        )
    return number


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping_without_repeats)
_StrictLoader.add_constructor("tag:yaml.org,2002:int", _plain_number)
_StrictLoader.add_constructor("tag:yaml.org,2002:float", _plain_number)


class _NoYaml(InputError):
    pass


def _parsed(text: str) -> Any:
    """Return what a YAML text says; raises `InputError` alone."""
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except InputError:
        raise
    # The library raises any of these for what it cannot build, such as `!!int ''` or `!!bool x`.
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise _NoYaml(f"is not YAML: {' '.join(str(error).split())}") from None


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
        check_study(study)
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
    Raises InputError if a key stands twice.
    """
    if isinstance(value, Mapping):
        return {key: typed_overrides(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [typed_overrides(inner) for inner in value]
    if not isinstance(value, str):
        return value
    try:
        return _parsed(value)
    except _NoYaml:
        return value
    except InputError as error:
        raise InputError(f"--config: {error}") from None
