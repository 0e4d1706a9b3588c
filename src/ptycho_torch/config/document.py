"""config/README.md and config/schema.json, written from the classes so that they cannot differ."""

import json
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ptycho_torch.config.base import Settings
from ptycho_torch.config.study import Study

_INTRODUCTION = """# Every key

Written from the classes in `src/ptycho_torch/config/` by `make docs`; a test compares them.

- `config.yaml` is the embedded default: a small study that ends in minutes on two CPU cores.
- `full.yaml` is the full protocol:
  `snakemake stage_a_summary --cores 4 --configfile config/full.yaml`.

A file given by `--configfile` replaces the default; it is not laid over it. `--config`
changes keys of the file in use, for a quick try: `--config 'training={epochs: 3}'`. An unknown key,
a wrong type or an impossible combination is an error that names the file, the block and the key.
Editors that know YAML schemas complete and check the keys by `schema.json`.

An arm names only the settings by which it differs. A block with a kind (`clip`, `optimizer`,
`schedule`) is replaced as a whole when an arm names a kind, since the keys of one kind mean nothing
to another; all other blocks are laid over the base key by key.
"""
_NAMES = {int: "integer", float: "number", str: "text", bool: "true or false", Any: "any"}


def schema_text() -> str:
    """Return the JSON schema of a study's YAML file, for editors."""
    schema = Study.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=2) + "\n"


def readme_text() -> str:
    """Return config/README.md: a section per class, a row per key."""
    return "\n".join([_INTRODUCTION, *map(_section, _models(Study, []))])


def _models(part: Any, found: list[type[Settings]]) -> list[type[Settings]]:
    """Return `found`, and behind it a type's classes of settings in the order of their mention."""
    is_model = isinstance(part, type) and issubclass(part, Settings)
    inner = [field.annotation for field in part.model_fields.values()] if is_model else ()
    if is_model and part not in found:
        found.append(part)
        for annotation in inner:
            _models(annotation, found)
    for annotation in get_args(part):
        _models(annotation, found)
    return found


def _section(model: type[Settings]) -> str:
    description = " ".join((model.__doc__ or "").split())
    lines = [f"## {model.__name__}", "", description, "", "| key | type | default | meaning |"]
    lines.append("|---|---|---|---|")
    for name, field in model.model_fields.items():
        meaning = " ".join((field.description or "Names the kind of the block.").split())
        cells = [f"`{name}`", type_text(field.annotation), _default(field), meaning]
        row = " | ".join(cell.replace("|", "\\|") for cell in cells)
        lines.append(f"| {row} |")
    return "\n".join(lines) + "\n"


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if isinstance(field.default, Settings):
        return "its own defaults"
    return f"`{json.dumps(field.default)}`"


def type_text(annotation: Any) -> str:
    """Return a type as a reader of YAML thinks of it."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return "null"
    if origin is Annotated:
        return type_text(parts[0])
    if origin in (Union, UnionType):
        return " | ".join(type_text(part) for part in parts)
    if origin is Literal:
        return " | ".join(f"`{json.dumps(part)}`" for part in parts)
    if origin is dict:
        return f"mapping of name to {type_text(parts[1])}"
    if origin is list:
        return f"list of {type_text(parts[0])}"
    return _NAMES.get(annotation) or f"[{annotation.__name__}](#{annotation.__name__.lower()})"
