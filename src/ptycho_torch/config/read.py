"""Read a study from YAML: one clear error with file, block and key, or a frozen `Study`."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ptycho_torch.config.study import Study
from ptycho_torch.runtime.errors import InputError, nearest, printable
from ptycho_torch.runtime.regular_file import read_text

LARGEST_STUDY = 2**21
"""Bytes of a YAML file, and the parts that it may have once aliases are written out: a few lines
of aliases of aliases stand for billions."""
_MOST_PARTS = 200_000


class _NotYaml(InputError):
    """A text that is no YAML at all; on the command line it is a text."""


class _StrictLoader(yaml.SafeLoader):
    """A loader that refuses a key written twice, of which YAML would silently keep the last."""

    def get_single_node(self) -> yaml.Node | None:
        """Return the document, not yet built, unless its aliases stand for too much."""
        node = super().get_single_node()
        if node is not None:
            _check_parts(node)
        return node


def _check_parts(root: yaml.Node) -> None:
    """Refuse aliases that lead round in a circle, or stand for more parts than any study has."""
    parts: dict[int, int] = {}

    def count(node: yaml.Node) -> int:
        if id(node) not in parts:
            parts[id(node)] = -1
            inner = node.value if isinstance(node, yaml.CollectionNode) else []
            flat = [one for item in inner for one in (item if isinstance(item, tuple) else (item,))]
            parts[id(node)] = 1 + sum(count(one) for one in flat)
        found = parts[id(node)]
        if found < 0 or found > _MOST_PARTS:
            what = "an alias stands for itself" if found < 0 else "aliases stand for too much"
            raise InputError(f"line {node.start_mark.line + 1}: {what}; write it out")
        return found

    count(root)


def _mapping_without_repeats(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise InputError(
                f"line {key_node.start_mark.line + 1}: a key must be a word, got {key}"
            )
        if key in seen:
            raise InputError(
                f"line {key_node.start_mark.line + 1}: '{key}' stands twice in its block"
            )
        seen.add(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping_without_repeats)


def load_yaml(path: str | Path, name: str | None = None) -> dict[str, Any]:
    """Return the mapping that a YAML file holds; what it says wrongly is told of `name`.

    Raises
    ------
    InputError
        If the file cannot be read, is not YAML, is not a mapping, or repeats a key.
    """
    name = name or str(path)
    text = read_text(path, LARGEST_STUDY)
    try:
        data = _parsed(text)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    if data is None:
        raise InputError(f"{name}: is empty; expected blocks of keys (config/README.md)")
    if not isinstance(data, dict):
        raise InputError(f"{name}: expected blocks of keys, got {type(data).__name__}")
    return data


def _parsed(text: str) -> Any:
    """Return what a YAML text says, whatever it tries; raises `InputError` alone."""
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except InputError:
        raise
    # The last three are what the library raises for `!!int ''`, `!!bool x` and `!!timestamp x`.
    except (
        *(yaml.YAMLError, ValueError, TypeError, OverflowError),
        *(IndexError, KeyError, AttributeError),
    ) as error:
        raise _NotYaml(f"is not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise _NotYaml("is not YAML: blocks are nested too deeply") from None


def parse_study(data: Mapping[str, Any], source: str) -> Study:
    """Return the study that `data` describes.

    Parameters
    ----------
    data
        Nested mappings, as YAML gives them.
    source
        File or command-line option that the data came from, for the error message.

    Raises
    ------
    InputError
        `source: block.key: what is wrong, what came, what was expected`.
    """
    try:
        # Through JSON: Snakemake hands over OrderedDicts, strict classes want plain ones.
        return Study.model_validate(json.loads(json.dumps(data)))
    except ValidationError as error:
        first, *more = first_mistakes(error, data).split("\n  ")
        raise InputError(f"{source}: {first}", *more) from None
    except (TypeError, ValueError) as error:
        raise InputError(f"{source}: {error}") from None
    except RecursionError:
        raise InputError(f"{source}: blocks are nested too deeply") from None


def read_sources(paths: Iterable[str | Path], *, project: Path) -> str:
    """Check files that Snakemake has read for what it does not see; return their names.

    A file of the project is named as people type it, another one in full.

    Raises
    ------
    InputError
        As `load_yaml`.
    """
    names = []
    for path in map(Path, paths):
        whole = path.absolute()
        inside = whole.is_relative_to(project)
        names.append(str(whole.relative_to(project) if inside else whole))
        load_yaml(whole, names[-1])
    return " + ".join(names) or "--config"


def typed_overrides(value: Any) -> Any:
    """Return what `--config` gave with its numbers, truths and lists as such.

    Snakemake reads nested values of `--config` as text throughout.

    Raises
    ------
    InputError
        If a key stands twice, or aliases stand for too much.
    """
    if isinstance(value, Mapping):
        return {key: typed_overrides(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [typed_overrides(inner) for inner in value]
    if isinstance(value, str):
        try:
            return _parsed(value)
        except _NotYaml:
            return value
        except InputError as error:
            raise InputError(f"--config: {error}") from None
    return value


def read_study(path: str | Path) -> Study:
    """Return the study in a YAML file; see `load_yaml` and `parse_study` for the errors."""
    return parse_study(load_yaml(path), str(path))


def first_mistakes(error: ValidationError, data: Mapping[str, Any]) -> str:
    """Return the mistakes of a validation, one a line, as `block.key: what, got value`."""
    lines = []
    for item in error.errors():
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "missing":
            message = "this key is missing"
        elif item["type"].startswith("union_tag"):
            message = _wrong_kind(item)
        elif item["type"] != "value_error":
            message = f"{message}, got {_short(item['input'])}"
        where = printable(".".join(_path_in(data, item["loc"])))
        line = f"{where}: {message}" if where else message
        if line not in lines:
            lines.append(line)
    return "\n  ".join(lines)


def _path_in(data: Any, location: tuple[int | str, ...]) -> list[str]:
    """Drop what pydantic adds to a location: the names of a union's members."""
    path: list[str] = []
    for depth, step in enumerate(location):
        in_list = isinstance(data, list) and isinstance(step, int) and step < len(data)
        if in_list or (isinstance(data, Mapping) and step in data):
            data = data[step]
        elif depth < len(location) - 1 or not isinstance(data, Mapping) or _is_type(step, data):
            continue
        path.append(str(step))
    return path


def _is_type(step: int | str, data: Mapping[str, Any]) -> bool:
    """Return whether a step names a class, a constraint or a union's member, not a key."""
    return isinstance(step, str) and (
        step[:1].isupper()
        or "[" in step
        or step in [v for v in data.values() if isinstance(v, str)]
    )


def _wrong_kind(item: Any) -> str:
    """Say which kinds a block can be of."""
    key = item["ctx"]["discriminator"].strip("'")
    if item["type"] == "union_tag_not_found":
        return f"the key '{key}', which says the block's kind, is missing"
    tag, kinds = item["ctx"]["tag"], item["ctx"]["expected_tags"].replace("'", "").split(", ")
    return f"{key} '{tag}' is not known{nearest(tag, kinds)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
