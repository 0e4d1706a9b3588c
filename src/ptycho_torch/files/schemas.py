"""What results must hold where another stage reads them: checked before anything is made of them.

Keys that nobody reads here are no fault. docs/files.md has the layouts.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.runtime.errors import InputError

Scores = dict[str, float | None]


class Part(BaseModel):
    """A block of JSON; keys that are not read are no fault."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class SplitFacts(Part):
    """One split in `dataset.json`."""

    sha256: str
    noise_floor: float | None = None


class Splits(Part):
    """The three of them."""

    train: SplitFacts
    validation: SplitFacts
    test: SplitFacts


class DatasetFacts(Part):
    """`dataset.json`."""

    splits: Splits
    patch_px: int = Field(gt=0)


class TileFacts(Part):
    """`dataset.json`, as what stitches the test split needs it."""

    test_step_px: int = Field(gt=0)


class Failure(Part):
    """Why a run ended early."""

    epoch: int | None = None
    step: int | None = None
    reason: str | None = None


class Parameters(Part):
    """How many a network has."""

    stored: int
    full: int


class RunRecord(Part):
    """`run.json` of a run of the study."""

    dataset: str
    arm: str
    seed: int
    settings: dict[str, Any]
    outcome: str
    failure: Failure | None
    dataset_sha256: dict[str, str]
    epochs: int
    steps: int
    val_loss_name: str
    best_epoch: int | None
    best_val_loss: float | None
    last_val_loss: float | None
    best_mae_val_loss: float | None
    first_loss: float | None
    parameters: Parameters
    gradient_norm: Scores | None
    clipped_share: float | None
    loss_spikes: int
    versions: dict[str, str]


class Judgement(Part):
    """`metrics.json` of a run of the study."""

    dataset: str
    arm: str
    seed: int
    outcome: str
    failure: Failure | None
    reason: str | None
    twin: Scores | None
    best: Scores | None
    last: Scores | None
    constant: Scores | None
    truth: Scores | None
    undefined: dict[str, str]


class Timing(Part):
    """`timing.json`."""

    wall_s: float
    inference_s: float | None
    samples_per_s: float
    peak_memory_mib: float
    device: str
    threads: int
    commit: str
    platform: str


class ConventionalScores(Part):
    """`metrics.json` of the conventional reconstruction."""

    best: Scores
    undefined: dict[str, str]
    outcome: str


class Scored(Part):
    """Quality after an iteration of it."""

    number: int = Field(alias="iteration")
    seconds: float
    error: float | None
    amplitude_ssim: float | None
    phase_synchronised_ssim: float | None = None
    complex_error_synchronised: float | None


class Progress(Part):
    """`progress.json` of the conventional reconstruction."""

    scored: list[Scored] = Field(min_length=1)
    settings: dict[str, Any]
    dataset_sha256: dict[str, str]
    r_factor: float | None
    device: str
    threads: int
    iterations: int


class StageFindings(Part):
    """`findings.json` of a stage, as the summary of the study reads it."""

    name: str
    title: str
    question: str
    answer: list[str]
    dataset: str
    arms: list[str]
    baselines: dict[str, Scores]
    noise_floor: float | None = None
    undefined: dict[str, str]


def read_result(path: PathLike, kind: type[Part]) -> dict[str, Any]:
    """Return a JSON result as it is, once it is known to hold what it must.

    Raises
    ------
    InputError
        If it cannot be read, lacks a key, or has another type of value; names file and key.
    """
    data = io.read_json(path)
    try:
        kind.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            what = f"lacks '{where}'"
        else:
            what = f"{where}: {first['msg']}, got {str(first['input'])[:80]!r}"
        raise InputError(f"{path}: {what}; another version wrote it, make it again") from None
    return data
