"""config/README.md and config/schema.json, written from the classes so that they cannot differ."""

import json
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ptycho_torch.config.base import Settings, meanings
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


def schema_text() -> str:
    """Return the JSON schema of a study's YAML file, for editors."""
    models = _models()
    for model in models:
        for name, meaning in meanings(model).items():
            model.model_fields[name].description = meaning
    for model in reversed(models):
        model.model_rebuild(force=True)
    schema = Study.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=2) + "\n"


def readme_text() -> str:
    """Return config/README.md: a section per class, a row per key."""
    sections = [_INTRODUCTION]
    for model in _models():
        sections.append(_section(model))
    return "\n".join(sections)


def _models() -> list[type[Settings]]:
    """Return `Study` and every class below it, in the order of their first mention."""
    found: list[type[Settings]] = []

    def visit(model: type[Settings]) -> None:
        if model in found:
            return
        found.append(model)
        for field in model.model_fields.values():
            for inner in _classes(field.annotation):
                visit(inner)

    visit(Study)
    return found


def _classes(annotation: Any) -> list[type[Settings]]:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [annotation]
    return [model for part in get_args(annotation) for model in _classes(part)]


def _section(model: type[Settings]) -> str:
    description = " ".join((model.__doc__ or "").split())
    lines = [f"## {model.__name__}", "", description, "", "| key | type | default | meaning |"]
    lines.append("|---|---|---|---|")
    said = meanings(model)
    for name, field in model.model_fields.items():
        meaning = " ".join(said.get(name, "").split()).replace("|", "\\|")
        kind = type_text(field.annotation).replace("|", "\\|")
        lines.append(f"| `{name}` | {kind} | {_default(field)} | {meaning} |")
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
    if str(origin) == "typing.Literal":
        return " | ".join(f"`{json.dumps(part)}`" for part in parts)
    if origin is dict:
        return f"mapping of name to {type_text(parts[1])}"
    if origin is list:
        return f"list of {type_text(parts[0])}"
    names = {int: "integer", float: "number", str: "text", bool: "true or false", Any: "any"}
    if annotation in names:
        return names[annotation]
    return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
