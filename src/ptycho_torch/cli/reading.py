"""The settings of `ScanConventions` as flags, the same in every command that reads measurements."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from ptycho_torch.config.base import mistakes
from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.runtime.errors import InputError

PANEL = "How the file is read"


def with_reading(
    command: Callable[..., None], *, without: tuple[str, ...] = ()
) -> Callable[..., None]:
    """Give a command a flag for every setting of `ScanConventions`, in place of its `reading`.

    The command takes a parameter `reading: ScanConventions`; a flag is the setting's name in
    kebab case, its help the text under the setting; those in `without` have none and keep their
    defaults.
    """
    own = inspect.signature(command, eval_str=True)
    names = [name for name in ScanConventions.model_fields if name not in without]
    flags = [_flag(name, ScanConventions.model_fields[name]) for name in names]

    @wraps(command)
    def with_flags(*args: Any, **values: Any) -> None:
        told = {name: values.pop(name) for name in names}
        command(*args, reading=reading_from(told), **values)

    kept = [part for part in own.parameters.values() if part.name != "reading"]
    parts = [part.replace(kind=inspect.Parameter.KEYWORD_ONLY) for part in [*kept, *flags]]
    # What typer reads; without `__wrapped__`, which would show it the command's own.
    del with_flags.__wrapped__
    with_flags.__dict__["__signature__"] = own.replace(parameters=parts)
    with_flags.__annotations__ = {part.name: part.annotation for part in parts}
    return with_flags


def reading_from(told: dict[str, Any]) -> ScanConventions:
    """Return the settings that flags say.

    Raises
    ------
    InputError
        If a value is none of the setting's; names the flag.
    """
    try:
        return ScanConventions(**told)
    except ValidationError as error:
        key, _, what = mistakes(error)[0].partition(": ")
        raise InputError(f"--{key.replace('_', '-')}: {what}") from None


def _flag(name: str, info: FieldInfo) -> inspect.Parameter:
    kind = _plain(info.annotation)
    choices = _choices(info.annotation)
    option = typer.Option(
        "--" + name.replace("_", "-"),
        help=" ".join((info.description or "").split()),
        metavar="|".join(map(str, choices)) or None,
        rich_help_panel=PANEL,
        show_default=info.default is not None,
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=info.default,
        annotation=Annotated[kind, option],
    )


def _choices(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _plain(annotation: Any) -> Any:
    """Return what typer reads a setting as; `ScanConventions` itself checks bounds and choices."""
    choices = _choices(annotation)
    if choices:
        return type(choices[0])
    kinds = [part for part in get_args(annotation) if part is not type(None)]
    if get_origin(annotation) is Annotated or not kinds:
        inner = kinds[0] if get_origin(annotation) is Annotated else annotation
        return inner
    return _plain(kinds[0]) | None
