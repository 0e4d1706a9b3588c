"""Names of the scores: their columns, how people read them, and which way is better."""

from dataclasses import dataclass
from typing import Literal, get_args

Outcome = Literal["completed", "non_finite", "exploded", "collapsed", "twin", "misfit", "stagnated"]

COMPLETED = "completed"
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


@dataclass(frozen=True, slots=True)
class Score:
    """One number per run: its column of the table of runs, and how it is printed."""

    column: str
    label: str
    lower_is_better: bool

    @property
    def name(self) -> str:
        """Name of the score within its block of `metrics.json`, if it is of one."""
        return self.column.removeprefix("best_")


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
}


def _image_score(image: str, kind: str) -> Score:
    label, lower = _KINDS[kind]
    before, after = _IMAGE_LABELS[image]
    return Score(f"best_{image}_{kind}", f"{before} {label}{after}", lower)


IMAGE_SCORES = tuple(_image_score(image, kind) for image in _IMAGE_LABELS for kind in _KINDS)
BEST_LOSS = Score("best_val_loss", "best validation loss", lower_is_better=True)
COMPOSITE = Score("composite_loss", "composite loss", lower_is_better=True)
"""The last validation loss (MAE), and for a run that failed or did no better than the best constant
object that object's: a number that every run has, by which claims are made."""
AREA = Score("area", "mean loss over the rates", lower_is_better=True)
TUNED = Score("tuned_loss", "composite loss at the arm's own best rate", lower_is_better=True)
LAST_LOSS = Score("last_val_loss", "last validation loss", lower_is_better=True)
BEST_MAE_LOSS = Score(
    "best_mae_val_loss", "MAE validation loss of the best epoch", lower_is_better=True
)
TWIN_SHARE = Score("twin_share", "share of patches on the twin", lower_is_better=True)
COMPLEX_ERROR = Score("best_complex_error", "complex error (as stitched)", lower_is_better=True)
COMPLEX_ERROR_SYNCHRONISED = Score(
    "best_complex_error_synchronised", "complex error (synchronised)", lower_is_better=True
)
AMPLITUDE_FACTOR = Score(
    "best_amplitude_factor",
    "amplitude factor, mean(truth) / mean(prediction)",
    lower_is_better=False,
)
_OTHERS = (COMPLEX_ERROR_SYNCHRONISED, COMPLEX_ERROR, AMPLITUDE_FACTOR)
BLOCK_NAMES = tuple(score.name for score in (*IMAGE_SCORES, *_OTHERS))
"""Every score of a block of `metrics.json`."""

AMPLITUDE_SSIM = _image_score("amplitude", "ssim")
# The synchronised ones spread by 0.12 in SSIM and 0.040 in error from the number of threads alone,
# the stitched ones by 0.028 and 0.005.
PHASE_SSIM = _image_score("phase", "ssim")
RECONSTRUCTION_SCORES = (AMPLITUDE_SSIM, PHASE_SSIM, COMPLEX_ERROR)
"""The headline."""


def loss_score(names: list[str]) -> Score:
    """Return the loss that arms are compared by, given `val_loss_name` of the runs.

    Where these differ, so do the units: the MAE of the best epoch takes their place.
    """
    return BEST_MAE_LOSS if len(set(names)) > 1 else BEST_LOSS
