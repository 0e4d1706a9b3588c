"""Names of the scores: their columns, how people read them, and which way is better."""

from dataclasses import dataclass

COMPLETED = "completed"
OUTCOMES = (COMPLETED, "non_finite", "exploded", "collapsed", "twin", "misfit", "stagnated")


@dataclass(frozen=True, slots=True)
class Score:
    """One number per run: its column of the table of runs, and how it is printed."""

    column: str
    label: str
    lower_is_better: bool = True

    @property
    def name(self) -> str:
        """Name of the score within its block of `metrics.json`, if it is of one."""
        return self.column.removeprefix("best_")


IMAGE_NAMES = tuple(
    f"{image}_{kind}"
    for image in ("amplitude", "phase", "phase_synchronised")
    for kind in ("ssim", "mae", "psnr_db", "pearson_r", "std_ratio", "frc_half")
)
BLOCK_NAMES = (*IMAGE_NAMES, "complex_error_synchronised", "complex_error", "amplitude_factor")
"""Every score of a block of `metrics.json`."""

LOSS = Score("best_mae_val_loss", "best validation loss (MAE)")
"""Of the epoch with the best loss, and MAE whatever loss a run was trained with."""
COMPOSITE = Score("composite_loss", "composite loss")
"""The last validation loss (MAE), and for a run that failed or did no better than the best constant
object that object's: a number that every run has, by which claims are made."""
AREA = Score("area", "mean loss over the rates")
TUNED = Score("tuned_loss", "composite loss at the arm's own best rate")
FAILURE_RATE = Score("failure_rate", "failure rate")

AMPLITUDE_SSIM = Score("best_amplitude_ssim", "amplitude SSIM", lower_is_better=False)
# The synchronised ones spread by 0.12 in SSIM and 0.040 in error from the number of threads alone,
# the stitched ones by 0.028 and 0.005.
PHASE_SSIM = Score("best_phase_ssim", "phase SSIM (as stitched)", lower_is_better=False)
COMPLEX_ERROR = Score("best_complex_error", "complex error (as stitched)")
MAIN_SCORES = (LOSS, AMPLITUDE_SSIM, PHASE_SSIM, COMPLEX_ERROR)
"""The headline."""
