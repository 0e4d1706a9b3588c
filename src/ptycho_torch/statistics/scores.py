"""Names of the scores: their columns, how people read them, and which way is better."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["completed", "non_finite", "exploded", "collapsed", "twin", "misfit", "stagnated"]

COMPLETED = "completed"
OUTCOMES: tuple[Outcome, ...] = (
    "completed",
    "non_finite",
    "exploded",
    "collapsed",
    "twin",
    "misfit",
    "stagnated",
)
# These may stop a run where they happen; all but `exploded` are also found when it is evaluated.
STOPPING = ("non_finite", "exploded", "collapsed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One number per run."""

    column: str
    """Column of the table of runs."""

    label: str
    """As printed in tables and on axes."""

    lower_is_better: bool
    """Direction."""

    @property
    def name(self) -> str:
        """Name of the score within its block of `metrics.json`, if it is of one."""
        return self.column.removeprefix("best_")


IMAGES = ("amplitude", "phase", "phase_synchronised")
_IMAGE_LABELS = {
    "amplitude": ("amplitude", ""),
    "phase": ("phase", " (as stitched)"),
    "phase_synchronised": ("phase", " (synchronised)"),
}
_KINDS = {
    "ssim": ("SSIM", False),
    "mae": ("MAE", True),
    "psnr_db": ("PSNR, dB", False),
    "pearson_r": ("Pearson r", False),
    "std_ratio": ("ratio of standard deviations", False),
    "frc_half": ("FRC 0.5 crossing, cycles/px", False),
    "frc_seventh": ("FRC 1/7 crossing, cycles/px", False),
}


def image_score(image: str, kind: str) -> Score:
    """Return a score of the best weights, such as the SSIM of the amplitude."""
    label, lower = _KINDS[kind]
    column = f"best_{image}_{kind}"
    before, after = _IMAGE_LABELS[image]
    return Score(column=column, label=f"{before} {label}{after}", lower_is_better=lower)


IMAGE_SCORES = tuple(image_score(image, kind) for image in IMAGES for kind in _KINDS)
BEST_LOSS = Score(column="best_val_loss", label="best validation loss", lower_is_better=True)
LAST_LOSS = Score(column="last_val_loss", label="last validation loss", lower_is_better=True)
TWIN_SHARE = Score(column="twin_share", label="share of patches on the twin", lower_is_better=True)
COMPLEX_ERROR = Score(
    column="best_complex_error_synchronised",
    label="complex error (synchronised)",
    lower_is_better=True,
)
COMPLEX_ERROR_STITCHED = Score(
    column="best_complex_error", label="complex error (as stitched)", lower_is_better=True
)
AMPLITUDE_FACTOR = Score(
    column="best_amplitude_factor",
    label="amplitude factor, mean(truth) / mean(prediction)",
    lower_is_better=False,
)
REASSEMBLED = Score(
    column="best_amplitude_ssim_reassembled",
    label="amplitude SSIM, patches reassembled",
    lower_is_better=False,
)
BLOCK_NAMES = tuple(
    score.name
    for score in (
        *IMAGE_SCORES,
        COMPLEX_ERROR,
        COMPLEX_ERROR_STITCHED,
        AMPLITUDE_FACTOR,
        REASSEMBLED,
    )
)
"""Every score of a block of `metrics.json`."""

AMPLITUDE_SSIM = image_score("amplitude", "ssim")
PHASE_SSIM = image_score("phase_synchronised", "ssim")
PHASE_SSIM_STITCHED = image_score("phase", "ssim")
RECONSTRUCTION_SCORES = (AMPLITUDE_SSIM, PHASE_SSIM, COMPLEX_ERROR)


def loss_score(names: list[str]) -> Score:
    """Return the loss that arms are compared by.

    Parameters
    ----------
    names
        `val_loss_name` of the runs. Where they differ, the losses have different units, and the
        MAE of the best epoch takes their place.
    """
    if len(set(names)) > 1:
        return Score(
            column="best_mae_val_loss",
            label="MAE validation loss of the best epoch",
            lower_is_better=True,
        )
    return BEST_LOSS
