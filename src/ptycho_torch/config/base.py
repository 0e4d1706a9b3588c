"""What every settings class shares: frozen, strict, and one way to say what is wrong with one."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializationInfo,
    ValidationError,
    model_validator,
)

from ptycho_torch.runtime.errors import InputError, nearest, shown_path

# YAML 1.1 reads `1e9` as text because it has no decimal point, and people mean the number.
_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def number_from_yaml(value: Any) -> Any:
    """Return a number that YAML 1.1 reads as text, such as 1e-3, as one; all else as it is."""
    if isinstance(value, str) and _EXPONENT.fullmatch(value):
        return float(value)
    return value


# Blocks with a kind: an arm that names another kind replaces the whole block, since the keys of one
# kind mean nothing to another.
_KINDS = {"clip": "gradient_clip_algorithm", "optimizer": "name", "schedule": "name"}


def merge(base: Mapping[str, Any], over: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    """Return the block `name` with another laid over it, key by key or, by its kind, whole."""
    if _KINDS.get(name) in over:
        return dict(over)
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
        merged[key] = merge(base[key], value, key) if both else value
    return merged


def leaves(block: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the full key of each setting in a block and the blocks within it, and its value."""
    for key, value in block.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line of printable text")
    return text


def value_text(value: Any) -> str:
    """Return a setting's value as part of a name: 5, 0.001, agc, none, true."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    # A plus sign is no part of a folder's name: 1e20.
    return f"{value:.12g}".replace("+", "") if isinstance(value, float) else str(value)


def _spelled_out(seeds: Any) -> Any:
    """Return a number of seeds as a list, counted from 0."""
    if type(seeds) is not int:
        return seeds
    if not 1 <= seeds <= 1000:
        raise ValueError(f"a number of seeds must be from 1 to 1000, got {seeds}")
    return list(range(seeds))


def _different(values: list[Any]) -> list[Any]:
    twice = dict.fromkeys(value_text(value) for value in values if values.count(value) > 1)
    if twice:
        raise ValueError(f"names {', '.join(twice)} more than once")
    return values


def _rising(numbers: list[Any]) -> list[Any]:
    if numbers != sorted(set(numbers)):
        raise ValueError(f"must rise, each number once, got {numbers}")
    return numbers


def _published_path(path: str, info: SerializationInfo) -> str:
    return shown_path(path) if (info.context or {}).get("published") else path


Real = Annotated[float, BeforeValidator(number_from_yaml)]
# float32 is what the numbers meet in the end.
Positive = Annotated[Real, Field(gt=0, le=3e38)]
NotNegative = Annotated[Real, Field(ge=0, le=3e38)]
Fraction = Annotated[Real, Field(gt=0, lt=1)]
Share = Annotated[Real, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Gridsize = Annotated[int, Field(ge=1, le=2)]
# More is a slip of the hand: of 100,000 blocks a plan had no answer after 40 s.
Depth = Annotated[int, Field(ge=1, le=1000)]
# RandomState takes 32 bits, and a seed is part of a folder's name.
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Different = AfterValidator(_different)
Rising = AfterValidator(_rising)
AtLeastOne = Field(min_length=1)
_SeedsAsGiven = Annotated[int, Field(ge=1, le=1000)] | Annotated[list[Seed], AtLeastOne]
Seeds = Annotated[
    list[Seed],
    AtLeastOne,
    Different,
    BeforeValidator(_spelled_out, json_schema_input_type=_SeedsAsGiven),
]
# Names become folders: letters, digits, `_`, `-` and `.`, and never a path that climbs.
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$"
Name = Annotated[str, Field(pattern=NAME, max_length=60)]
Names = Annotated[list[Name], AtLeastOne, Different]
Line = Annotated[str, AfterValidator(_one_line)]
Checksum = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FilePath = Annotated[str, PlainSerializer(_published_path, return_type=str)]
Accelerator = Annotated[
    Literal["auto", "cpu", "gpu", "mps"],
    BeforeValidator(lambda value: "gpu" if value == "cuda" else value),
]


class Settings(BaseModel):
    """A frozen block of settings; unknown keys and wrong types are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
        # A job uses a few of these classes, and each costs milliseconds to build.
        defer_build=True,
    )

    def published(self) -> dict[str, Any]:
        """Return the settings as plain data for results: paths outside the folder are names."""
        return self.model_dump(mode="json", context={"published": True})

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        for key in data if isinstance(data, Mapping) else ():
            if key not in cls.model_fields:
                close = nearest(str(key), list(cls.model_fields))
                raise ValueError(f"{cls.__name__} has no key '{key}'{close}")
        return data


def mistakes(error: ValueError, data: Any = None) -> list[str]:
    """Return what is wrong with settings, a line each; what pydantic found: `block.key: what, got
    value`. `data`: the settings as they came; without them a key may name a union's member, too.
    """
    if not isinstance(error, ValidationError):
        return str(error).split("\n  ")
    lines = []
    for item in error.errors():
        key = _key(item["loc"], item["type"], data)
        lines.append(f"{key}: {_what(item)}" if key else _what(item))
    return list(dict.fromkeys(lines))


def _what(item: Any) -> str:
    context = item.get("ctx", {})
    kind = context.get("discriminator", "").strip("'()")
    match item["type"]:
        case "missing":
            return "this key is missing"
        case "union_tag_not_found":
            return f"the key '{kind}', which says the block's kind, is missing"
        case "union_tag_invalid":
            known = context["expected_tags"].replace("'", "").split(", ")
            known = ["'package.module:Class'" if word == "own" else word for word in known]
            # Where a class may be named as well, all choices are said: NAdam is no Adam.
            word = "" if "'package.module:Class'" in known else context["tag"]
            return f"{kind} '{context['tag']}' is not known{nearest(word, known)}"
        case "value_error":
            return str(context["error"])
    text = repr(item["input"])
    return f"{item['msg']}, got {text if len(text) <= 80 else text[:77] + '...'}"


def _key(location: tuple[int | str, ...], kind: str, data: Any) -> str:
    """Return the key at a location, without what pydantic adds: the names of a union's members."""
    path: list[str] = []
    for step in location:
        in_list = isinstance(data, list) and isinstance(step, int) and step < len(data)
        if in_list or (isinstance(data, Mapping) and step in data):
            data = data[step]
        elif data is not None and (kind != "missing" or step is not location[-1]):
            continue
        path.append(str(step))
    return ".".join(path)


@contextlib.contextmanager
def placed(place: str, data: Any = None) -> Iterator[None]:
    """Make of a mistake in settings, which came as `data`, the one error that a user gets: the
    first line with its `place`, a file, an option or a block."""
    try:
        yield
    except ValueError as error:
        first, *more = mistakes(error, data)
        raise InputError(f"{place}{first}", *more) from None
