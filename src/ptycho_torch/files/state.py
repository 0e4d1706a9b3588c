"""The part of `io` for the state of a training: tensors and JSON in one file under one checksum.

A safetensors file whose metadata hold the JSON and a SHA-256 of everything. One file, so that it is
moved into place at once and its parts are always of the same moment; nothing is unpickled.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ptycho_torch.runtime.atomic_write import PathLike, atomic_write
from ptycho_torch.runtime.errors import InputError, printable
from ptycho_torch.runtime.regular_file import size_of

_SEPARATOR = "/"
"""Between the keys that lead to a tensor; no name in a state holds it."""


def write_state(path: PathLike, state: Mapping[str, Any]) -> None:
    """Write nested dictionaries of tensors, numbers, texts, lists and None, whole.

    Tensors are values of dictionaries, on any device; lists hold what JSON can. Infinity and NaN
    are allowed.
    """
    from safetensors.torch import save

    rest: dict[str, Any] = {}
    tensors = dict(_split(state, rest))
    facts = json.dumps(rest)
    with atomic_write(path) as part:
        part.write_bytes(save(tensors, {"state": facts, "sha256": _digest(tensors, facts)}))


def read_state(path: PathLike) -> dict[str, Any]:
    """Return what `write_state` wrote, tensors on the CPU.

    Raises
    ------
    InputError
        If the file cannot be read, is not whole, or was changed after it was
        written.
    """
    from safetensors import SafetensorError, safe_open

    size_of(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        facts = metadata.get("state", "")
        if metadata.get("sha256") != _digest(tensors, facts):
            raise InputError(f"{path}: was changed after it was written")
        state: dict[str, Any] = json.loads(facts)
        _join(tensors, state)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (SafetensorError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: is not a whole state of a training ({printable(str(error))})"
        ) from None
    return state


def digest_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors with their names, types and shapes, in hexadecimal."""
    return _digest(tensors, "")


def _split(
    state: Mapping[str, Any], rest: dict[str, Any], *above: str
) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a state by their path; put all else into `rest`."""
    for key, value in state.items():
        if isinstance(value, Tensor):
            yield _SEPARATOR.join((*above, key)), value.detach().cpu().contiguous()
        elif isinstance(value, Mapping):
            yield from _split(value, rest.setdefault(key, {}), *above, key)
        else:
            rest[key] = value


def _join(tensors: Mapping[str, Tensor], state: object) -> None:
    """Put tensors where their paths lead; `ValueError` where something else lies there."""
    if not isinstance(state, dict):
        raise ValueError("its JSON is no object")
    for name, tensor in tensors.items():
        *folders, last = name.split(_SEPARATOR)
        place = state
        for folder in folders:
            place = place.setdefault(folder, {})
            if not isinstance(place, dict):
                raise ValueError(f"{name} leads through what is no object")
        if last in place:
            raise ValueError(f"{name} is there twice")
        place[last] = tensor


def _digest(tensors: Mapping[str, Tensor], facts: str) -> str:
    found = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
