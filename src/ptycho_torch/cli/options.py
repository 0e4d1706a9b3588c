"""Flags of commands are made from the classes of settings: one source of names, texts, defaults.

A command takes a parameter annotated with `Flags`; in its place it gets a flag for every setting
of the class that is one value: named as the setting, its help the text under the setting. The
class itself checks what comes in, so that a mistake is one line with exit status 1.
"""

import contextlib
import inspect
import logging
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from pydantic import ValidationError

from ptycho_torch.config.arms import derive
from ptycho_torch.config.base import Settings, mistakes
from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.config.study import Study
from ptycho_torch.runtime.errors import InputError, nearest
from ptycho_torch.runtime.jobs import logging_to


@dataclass(frozen=True, slots=True)
class Flags:
    """How a class of settings becomes flags."""

    model: type[Settings]
    panel: str | None = None
    """Heading above the flags in `--help`."""
    without: tuple[str, ...] = ()
    """Settings that get no flag, and keep their defaults."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Setting -> its flags, where they are not `--` and the setting's name; blanks between them."""
    defaults: Settings | None = None
    """Settings in force where a flag is not given: the command gets the given ones alone, a
    dict. None: the command gets the settings as a whole."""

    def settings(self) -> list[str]:
        """Return the settings that have a flag."""
        found = self.model.model_fields.items()
        return [k for k, v in found if k not in self.without and plain_type(v.annotation)]

    def option(self, name: str) -> inspect.Parameter:
        """Return a setting's flag as typer reads it."""
        setting = self.model.model_fields[name]
        kind = plain_type(setting.annotation)
        flags = self.names.get(name, "--" + name.replace("_", "-")).split()
        if kind is bool and "/" not in flags[0] and (self.defaults or setting.default):
            flags[0] = f"{flags[0]}/--no-{flags[0].removeprefix('--')}"
        default: Any = None if self.defaults else setting.get_default()
        shown: bool | str = kind is not bool and default is not None
        if self.defaults and (in_force := getattr(self.defaults, name)) not in (None, []):
            shown = str(in_force)
        option = typer.Option(
            *flags,
            help=" ".join((setting.description or name.replace("_", " ")).split()),
            metavar="|".join(map(str, _choices(setting.annotation))) or None,
            rich_help_panel=self.panel,
            show_default=shown,
        )
        annotation = Annotated[kind if default is not None else kind | None, option]
        return inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
        )

    def read(self, given: dict[str, Any]) -> Any:
        """Return what the command gets for the values of its flags."""
        if self.defaults is not None:
            return {key: value for key, value in given.items() if value is not None}
        return checked(self.model, given)


ScanFile = Annotated[
    Path, typer.Argument(help="Measurements: NPZ (also packed by bzip2) or CXI; docs/own-data.md.")
]
Conventions = Annotated[ScanConventions, Flags(ScanConventions, "How the file is read")]


def checked(model: type[Settings], given: Mapping[str, Any]) -> Any:
    """Return settings that were given as flags; `InputError` of a mistake names the flag."""
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        key, _, what = mistakes(error, dict(given))[0].partition(": ")
        flag = f"--{key.rsplit('.')[-1].replace('_', '-')}: " if what else ""
        raise InputError(f"{flag}{what or key}") from None


def arm_of(file: Path, study: Study, arm: str | None) -> str:
    """Return the arm that was chosen by `--arm`, once the study in a file is known to have it."""
    names = list(derive(study).blocks)
    if arm not in names:
        what = f"--arm NAME: an arm of {file}" if arm is None else f"{file}: no arm '{arm}'"
        raise InputError(f"{what}{nearest(arm or '', names)}")
    return arm


def with_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command a flag for each setting of those parameters that are annotated so."""
    own = inspect.signature(command)
    groups: dict[str, Flags] = {}
    parts = []
    for name, hint in get_type_hints(command, include_extras=True).items():
        if name not in own.parameters:
            continue
        part = own.parameters[name].replace(annotation=hint, kind=inspect.Parameter.KEYWORD_ONLY)
        notes = getattr(hint, "__metadata__", ())
        flags = next((note for note in notes if isinstance(note, Flags)), None)
        if flags is None:
            parts.append(part)
            continue
        groups[name] = flags
        options = map(flags.option, flags.settings())
        parts += [option.replace(name=f"{name}_{option.name}") for option in options]

    @wraps(command)
    def flagged(**values: Any) -> None:
        for name, flags in groups.items():
            given = {key: values.pop(f"{name}_{key}") for key in flags.settings()}
            values[name] = flags.read(given)
        command(**values)

    # What typer reads; without `__wrapped__`, which would show it the command's own.
    del flagged.__wrapped__
    flagged.__dict__["__signature__"] = own.replace(parameters=parts)
    flagged.__annotations__ = {part.name: part.annotation for part in parts}
    return flagged


def messages() -> contextlib.AbstractContextManager[None]:
    """Return a context that shows what the package logs, and warnings that other libraries log."""
    return logging_to(logging.StreamHandler(sys.stderr), layout="%(message)s")


def _choices(annotation: Any) -> tuple[Any, ...]:
    """Return the words that a setting can be; none where it can also be something else."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    parts = [part for part in get_args(annotation) if part is not type(None)]
    return _choices(parts[0]) if len(parts) == 1 else ()


def plain_type(annotation: Any) -> Any:
    """Return what typer reads a setting as; None of a block, which has no flag."""
    origin = get_origin(annotation)
    if origin is Literal:
        return type(get_args(annotation)[0])
    if origin is Annotated:
        return plain_type(get_args(annotation)[0])
    if origin is list:
        return types.GenericAlias(list, (plain_type(get_args(annotation)[0]),))
    if origin is not None:
        kinds = {plain_type(part) for part in get_args(annotation)} - {type(None)}
        return kinds.pop() if len(kinds) == 1 else (None if None in kinds else str)
    is_block = isinstance(annotation, type) and issubclass(annotation, Settings)
    return None if is_block or annotation is Any else annotation
