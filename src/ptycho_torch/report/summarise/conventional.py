"""The conventional reconstruction beside the networks: its scores, and quality against time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptycho_torch.files.io import PathLike
from ptycho_torch.files.schemas import ConventionalScores, Progress, read_result
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.statistics.scores import BLOCK_NAMES


@dataclass(frozen=True, slots=True, kw_only=True)
class Conventional:
    """rPIE on the test split of a stage's dataset."""

    scores: dict[str, float | None]
    """The same scores as a run's best weights have."""

    undefined: dict[str, str]
    """Scores that it has not -> reason."""

    outcome: str
    """As of a run; a validation loss, which it has not, cannot make it a misfit."""

    r_factor: float | None
    """Amplitude R factor of all test frames: sum |A_pred - A_obs| / sum A_obs."""

    scored: list[dict[str, float | None]]
    """Iteration, seconds since the start, and quality, iteration by iteration."""

    iterations: int
    """Iterations made."""

    refined: bool
    """Whether the probe was mended, not known."""

    device: str
    """Where it ran."""

    threads: int
    """CPU threads."""

    name: str = "conventional"
    """Its name among the baselines."""

    @property
    def seconds(self) -> float:
        """Time of all iterations."""
        return float(self.scored[-1]["seconds"] or 0.0)

    @property
    def label(self) -> str:
        """As tables call it."""
        probe = "refined probe" if self.refined else "known probe"
        return f"*conventional: rPIE, {probe}*"


def read_conventional(files: Sequence[PathLike], dataset: Mapping[str, Any]) -> Conventional | None:
    """Read `metrics.json` and `progress.json`; None if there are none.

    Raises
    ------
    InputError
        If a file is missing, lacks a key, or was made with other data than `dataset` describes.
    """
    if not files:
        return None
    paths = {Path(path).name: Path(path) for path in files}
    for name in ("metrics.json", "progress.json"):
        if name not in paths:
            raise InputError(f"{', '.join(map(str, files))}: lacks {name}; reconstruct it again")
    metrics = read_result(paths["metrics.json"], ConventionalScores)
    progress = read_result(paths["progress.json"], Progress)
    described = {split: facts["sha256"] for split, facts in dataset["splits"].items()}
    if progress["dataset_sha256"] != described:
        raise InputError(
            f"{paths['progress.json']}: was made with other data than dataset.json describes; "
            "delete it and reconstruct again"
        )
    scored = progress["scored"]
    return Conventional(
        scores={name: metrics["best"].get(name) for name in BLOCK_NAMES},
        undefined=metrics["undefined"],
        outcome=metrics["outcome"],
        r_factor=progress["r_factor"],
        scored=scored,
        iterations=progress["iterations"],
        refined=bool(progress["settings"].get("refine_probe")),
        device=progress["device"],
        threads=progress["threads"],
    )
