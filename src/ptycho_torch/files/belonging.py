"""Results belong to their study: what was recorded beside them is what the study says now."""

from collections.abc import Iterable, Mapping
from typing import Any

from ptycho_torch.config.base import leaves
from ptycho_torch.files.io import PathLike
from ptycho_torch.runtime.errors import InputError

NO_RESULT = frozenset(
    ("accelerator", "threads", "loggers", "compile", "cuda_graphs", "checkpointing")
)
"""Settings that change how long a run takes, and no number but by rounding."""


def must_belong(
    results: Iterable[tuple[PathLike, Mapping[str, Any], Mapping[str, Any]]], rule: str
) -> None:
    """Compare settings that results were made with to those that the study has.

    results: file, recorded settings, the study's; rule: the rule that makes such files.
    `InputError` names the first file that differs, each of its keys, and how many more there are.
    """
    foreign = [(path, said) for path, was, now in results if (said := list(differences(was, now)))]
    if foreign:
        path, said = foreign[0]
        more = f" ({len(foreign) - 1} more files differ as well)" if len(foreign) > 1 else ""
        raise InputError(
            f"{path}: was made with other settings than the study's: {'; '.join(said)}{more}; "
            f"make it again (snakemake --forcerun {rule} ...), or keep these results and give the "
            "study another folder (--directory OTHER)"
        )


def differences(
    was: Mapping[str, Any], now: Mapping[str, Any], but: frozenset[str] = NO_RESULT
) -> Iterable[str]:
    """Return in words which settings differ, but for those that change no result."""
    before, after = dict(leaves(was)), dict(leaves(now))
    for key in sorted(before.keys() | after.keys()):
        # A key that is not given, and one of an older file, are null.
        values = (before.get(key), after.get(key))
        old, new = ("nothing" if value is None else value for value in values)
        if old != new and not but & {*key.split(".")}:
            yield f"{key} is {old}, the study says {new}"
