"""What every settings class shares: frozen, strict, and errors that name the cure."""

import ast
import inspect
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializationInfo,
    model_validator,
)

from ptycho_torch.runtime.errors import nearest, printable, shown_path

# YAML 1.1 reads `1e9` as text because it has no decimal point, and people mean the number.
_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def number_from_yaml(value: Any) -> Any:
    """Return a number that YAML 1.1 reads as text, such as 1e-3, as one; all else as it is."""
    if isinstance(value, str) and _EXPONENT.fullmatch(value):
        return float(value)
    return value


Real = Annotated[float, BeforeValidator(number_from_yaml)]
# float32 is what the numbers meet in the end.
_LARGEST = 3e38
Positive = Annotated[Real, Field(gt=0, le=_LARGEST)]
NotNegative = Annotated[Real, Field(ge=0, le=_LARGEST)]
Fraction = Annotated[Real, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
# More is a slip of the hand: of 100,000 blocks a plan had no answer after 40 s.
Depth = Annotated[int, Field(ge=1, le=1000)]
# RandomState takes 32 bits, and a seed is part of a folder's name.
Seed = Annotated[int, Field(ge=0, lt=2**32)]
# Names become folders: letters, digits, `_`, `-` and `.`, and never a path that climbs.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$", max_length=60)]


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line of printable text")
    return text


Line = Annotated[str, AfterValidator(_one_line)]


def _published_path(path: str, info: SerializationInfo) -> str:
    return shown_path(path) if (info.context or {}).get("published") else path


FilePath = Annotated[str, PlainSerializer(_published_path, return_type=str)]


class Settings(BaseModel):
    """A frozen block of settings; unknown keys and wrong types are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        # A job uses a few of these classes, and each costs milliseconds to build.
        defer_build=True,
    )

    def published(self) -> dict[str, Any]:
        """Return the settings as plain data for results: paths outside the folder are names."""
        return self.model_dump(mode="json", context={"published": True})

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        fields = list(cls.model_fields)
        for key in data:
            if key not in fields:
                name = printable(str(key))
                raise ValueError(f"{cls.__name__} has no key '{name}'{nearest(name, fields)}")
        return data


def meanings(model: type[Settings]) -> dict[str, str]:
    """Return the docstring under each field of a class, for those who write documents.

    pydantic can read them when a class is made, but that takes longer than all else that a job
    has to do with settings.
    """
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if issubclass(cls, Settings):
            (written,) = ast.parse(inspect.getsource(cls)).body
            assert isinstance(written, ast.ClassDef)
            for field, text in pairwise(written.body):
                match field, text:
                    case (
                        ast.AnnAssign(target=ast.Name(id=name)),
                        ast.Expr(value=ast.Constant(value=str(said))),
                    ):
                        found[name] = inspect.cleandoc(said)
    return found
