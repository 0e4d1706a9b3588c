"""Writes config/README.md and config/schema.json from the classes of settings (`make docs`)."""

import json
from pathlib import Path
from typing import Any

from ptycho_torch.config.study import Study

CONFIG = Path(__file__).resolve().parents[2] / "config"
_INTRODUCTION = """# Every key

Written from the classes in `src/ptycho_torch/config/` by `make docs`; a test compares them.

- `config.yaml` is the embedded default: a small study that ends in minutes on two CPU cores.
- `medium.yaml` has the protocol's patch size and the challengers, in about two hours on two cores.
- `full.yaml` is the full protocol:
  `snakemake stage_a_summary --cores 4 --configfile config/full.yaml`.

A file given by `--configfile` replaces the default; it is not laid over it. `--config`
changes keys of the file in use, for a quick try in a folder of its own:
`--config 'training={epochs: 3}' --directory quick`. Without `--directory` finished runs of other
settings are trained again in their place; a line at the start says how many. An unknown key, a
wrong type or an impossible combination is an error that names the file, the block and the key.
Editors that know YAML schemas complete and check the keys by `schema.json`.

An arm names only the settings by which it differs. A block with a kind (`clip`, `optimizer`,
`schedule`) is replaced as a whole when an arm names a kind, since the keys of one kind mean nothing
to another; all other blocks are laid over the base key by key.
"""
_NAMES = {"number": "number", "string": "text", "boolean": "true or false"}


def schema_text() -> str:
    """Return the JSON schema of a study's YAML file, for editors."""
    schema = Study.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=2) + "\n"


def readme_text() -> str:
    """Return config/README.md: a section per class, a row per key."""
    schema = Study.model_json_schema()
    classes = {"Study": schema, **schema["$defs"]}
    return "\n".join([_INTRODUCTION, *(_section(name, classes) for name in classes)])


def _section(name: str, classes: dict[str, Any]) -> str:
    model = classes[name]
    lines = [f"## {name}", "", " ".join(model["description"].split()), ""]
    lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, field in model["properties"].items():
        # The schema leaves out what the class of a block says as well.
        same = classes.get(field.get("$ref", "").rpartition("/")[2], {}).get("description")
        kind = "Names the kind of the block." if "const" in field else "One of these kinds."
        meaning = field.get("description") or same or kind
        default = "its own defaults" if same else f"`{json.dumps(field.get('default'))}`"
        if key in model.get("required", []):
            default = "required"
        cells = [f"`{key}`", _type(field), default, " ".join(meaning.split())]
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _type(field: dict[str, Any]) -> str:
    """Return a type as a reader of YAML thinks of it."""
    match field:
        case {"$ref": target}:
            name = target.rsplit("/", 1)[-1]
            return f"[{name}](#{name.lower()})"
        case {"anyOf": parts} | {"oneOf": parts}:
            return " | ".join(map(_type, parts))
        case {"const": value}:
            return f"`{json.dumps(value)}`"
        case {"enum": values}:
            return " | ".join(f"`{json.dumps(value)}`" for value in values)
        case {"type": "array", "items": items}:
            return f"list of {_type(items)}"
        case {"patternProperties": named}:
            return f"mapping of name to {_type(next(iter(named.values())))}"
        case {"type": "object", **rest}:
            values = rest.get("additionalProperties")
            return f"mapping of name to {_type(values) if isinstance(values, dict) else 'any'}"
    return _NAMES.get(field.get("type", "any"), field.get("type", "any"))


if __name__ == "__main__":
    (CONFIG / "README.md").write_text(readme_text(), encoding="utf-8")
    (CONFIG / "schema.json").write_text(schema_text(), encoding="utf-8")
