"""The first execution of this study, as it was published: one seed per arm, for the record.

Constants of the literature, not results of this project; they never enter a test or a verdict.
"""

from ptycho_torch.runtime.markdown import table

_HEADER = ("arm as published", "runs", "best validation loss", "amplitude SSIM", "amplitude MAE")
_ROWS = (
    ("control, global norm clipped at 1.0 (here: `norm1`)", "1", "0.0138", "0.925", "0.063"),
    ('"AGC 0.01"; in fact global norm clipped at 0.01', "1", "0.0243", "0.811", "0.102"),
    ("zero-gamma stable (here: `stable`)", "1", "0.1783", "0.277", "0.513"),
)
_CAVEAT = (
    "January 2026: N=64, 50 epochs, two images, a custom probe, the phase switched off. It is "
    "shown for comparison only. Each arm had one seed, so it has no spread and no interval. Its "
    "validation split was its test split. The flag that asks for AGC was dropped on its way to "
    "the trainer. An SSIM of 0.277 and an MAE of 0.513 are what a constant image scores on its "
    "test object. Its losses and scores come from other data and other code than those above."
)


def published_section() -> str:
    """Return the published row with its caveats, in Markdown."""
    return (
        "## The first, single-seed execution (published; not part of this "
        f"study)\n\n{table(_HEADER, _ROWS)}\n\n{_CAVEAT}"
    )
