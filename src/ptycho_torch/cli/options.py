"""Flags of commands are made from the classes of settings: one source of names, texts, defaults.

A command takes a parameter annotated with `Flags`; in its place it gets a flag for every setting
of the class that is one value: named as the setting, its help the text under the setting. The
class itself checks what comes in, so that a mistake is one line with exit status 1.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from pydantic import ValidationError

from ptycho_torch.config.base import Settings, mistakes
from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.runtime.errors import InputError

_TYPES: dict[str, Any] = {
    "integer": int, "number": float, "boolean": bool, "string": str, "array": list[str],
}  # fmt: skip
# Setting -> its flags, where they are not `--` and the setting's name; blanks between them.
_NAMES = {
    "accelerator": "--accelerator --device",
    "clip": "--clip --gradient-clip-algorithm",
    "clip_value": "--clip-value --gradient-clip-val",
    "epochs": "--epochs --max-epochs",
    "fno_blocks": "--fno-blocks --blocks",
    "groups": "--groups --max-samples",
    "iterations": "--iterations --passes",
    "name": "--generator",
    "probe_from_iteration": "--probe-from-iteration --probe-from-pass",
    "refine_probe": "--refine-probe/--known-probe",
}


@cache
def _schema(model: type[Settings]) -> dict[str, dict[str, Any]]:
    return model.model_json_schema()["properties"]


def _parts(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [part for part in schema.get("anyOf", [schema]) if part.get("type") != "null"]


def _kind(schema: dict[str, Any]) -> Any:
    """Return what typer reads a setting as; None of a block, which has no flag."""
    kinds = {
        Path if part.get("format") == "path" else _TYPES.get(part.get("type", ""))
        for part in _parts(schema)
    }
    return kinds.pop() if len(kinds) == 1 else None if None in kinds else str


@dataclass(frozen=True, slots=True)
class Flags:
    """How settings become flags."""

    of: type[Settings] | Settings
    """The class, and the command gets its settings as a whole; or settings that are in force where
    a flag is not given, and the command gets the given ones alone, a dict."""
    panel: str | None = None
    """Heading above the flags in `--help`."""
    without: tuple[str, ...] = ()
    """Settings that get no flag, and keep their defaults."""
    names: Mapping[str, str] = field(default_factory=_NAMES.copy)
    """Setting -> its flags, where they are not `--` and the setting's name."""

    @property
    def model(self) -> type[Settings]:
        """The class of the settings."""
        return self.of if isinstance(self.of, type) else type(self.of)

    def settings(self) -> list[str]:
        """Return the settings that have a flag."""
        found = _schema(self.model).items()
        return [key for key, schema in found if key not in self.without and _kind(schema)]

    def option(self, name: str) -> inspect.Parameter:
        """Return a setting's flag as typer reads it."""
        setting, schema = self.model.model_fields[name], _schema(self.model)[name]
        kind = _kind(schema)
        words = [part.get("items", part).get("enum") for part in _parts(schema)]
        flags = self.names.get(name, "--" + name.replace("_", "-")).split()
        whole = isinstance(self.of, type)
        if kind is bool and "/" not in flags[0] and (setting.default or not whole):
            flags[0] = f"{flags[0]}/--no-{flags[0].removeprefix('--')}"
        default: Any = setting.get_default() if whole else None
        shown: bool | str = kind is not bool and default is not None
        if not whole and (in_force := getattr(self.of, name)) not in (None, []):
            shown = str(in_force)
        option = typer.Option(
            *flags,
            help=" ".join((setting.description or name.replace("_", " ")).split()),
            metavar="|".join(map(str, words[0])) if len(words) == 1 and words[0] else None,
            rich_help_panel=self.panel,
            show_default=shown,
        )
        return inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[kind if default is not None else kind | None, option],
        )

    def read(self, given: dict[str, Any]) -> Any:
        """Return what the command gets for the values of its flags."""
        if isinstance(self.of, type):
            return checked(self.of, given)
        return {key: value for key, value in given.items() if value is not None}


Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace earlier results.")]
ScanFile = Annotated[
    Path, typer.Argument(help="Measurements: NPZ (also packed by bzip2) or CXI; docs/own-data.md.")
]
Conventions = Annotated[ScanConventions, Flags(ScanConventions, "How the file is read")]


def checked(model: type[Settings], given: Mapping[str, Any]) -> Any:
    """Return settings that were given as flags; `InputError` of a mistake names the flag."""
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        line = mistakes(error, dict(given))[0]
        key, _, what = line.partition(": ")
        if what and " " not in key:
            line = f"--{key.rsplit('.')[-1].replace('_', '-')}: {what}"
        raise InputError(line) from None


def with_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command a flag for each setting of those parameters that are annotated so."""
    own, hints = inspect.signature(command), get_type_hints(command, include_extras=True)
    groups: dict[str, Flags] = {}
    parts = []
    for name, part in own.parameters.items():
        notes = getattr(hints[name], "__metadata__", ())
        flags = next((note for note in notes if isinstance(note, Flags)), None)
        if flags is None:
            parts.append(part.replace(annotation=hints[name]))
            continue
        groups[name] = flags
        parts += [flags.option(key).replace(name=f"{name}_{key}") for key in flags.settings()]

    @wraps(command)
    def flagged(**values: Any) -> None:
        for name, flags in groups.items():
            given = {key: values.pop(f"{name}_{key}") for key in flags.settings()}
            values[name] = flags.read(given)
        command(**values)

    # What typer reads in place of the command's own, to which `__wrapped__` leads.
    flagged.__dict__["__signature__"] = own.replace(parameters=parts)
    flagged.__annotations__ = {part.name: part.annotation for part in parts}
    return flagged
