"""The options by which commands say how a file is to be read: one for each key of `Reading`."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from pydantic import ValidationError

from ptycho_torch.config.base import InputError
from ptycho_torch.config.files import first_message
from ptycho_torch.config.reading import Reading

_PANEL = "How the file is read"


def reads_files(command: Callable[..., None], *, without: tuple[str, ...] = ()) -> Any:
    """Return a command with an option for each key of `Reading`, which it gets as `reading`.

    Parameters
    ----------
    command
        Takes the keyword `reading`.
    without
        Keys that have no option.
    """
    types = get_type_hints(Reading)
    fields = {name: field for name, field in Reading.model_fields.items() if name not in without}
    options = {
        name: inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=Annotated[
                _plain(types[name]),
                typer.Option(
                    help=" ".join((field.description or "").split()), rich_help_panel=_PANEL
                ),
            ],
        )
        for name, field in fields.items()
    }

    @wraps(command)
    def wrapped(**given: Any) -> None:
        told = {name: given.pop(name) for name in options}
        try:
            reading = Reading.model_validate(told)
        except ValidationError as error:
            raise InputError(f"--{first_message(error).replace('_', '-', 1)}") from None
        command(reading=reading, **given)

    own = [p for p in inspect.signature(command).parameters.values() if p.name != "reading"]
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + [*options.values()]
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapped


def _plain(kind: Any) -> Any:
    """Return a type that the command line knows: a choice among numbers is a number."""
    if get_origin(kind) is Literal and all(isinstance(value, int) for value in get_args(kind)):
        return int
    return kind
