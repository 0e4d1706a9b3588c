"""Every figure of a stage, by name."""

from pathlib import Path

from ptycho_torch.report.collected import Collected
from ptycho_torch.report.figures import runs, scores, settings, stress
from ptycho_torch.runtime.plot_style import save, styled
from ptycho_torch.statistics.stress import Stress


def write_figures(collected: Collected, found: Stress | None, folder: Path) -> None:
    """Draw and save a stage's figures as PNG and SVG."""
    if found is not None:
        with styled():
            save(stress.loss_by_rate(collected, found), folder, "loss_by_rate")
            save(stress.areas(found), folder, "areas")
        return
    drawings = {
        "learning_curves": runs.learning_curves,
        "metric_spread": scores.metric_spread,
        "reconstructions": scores.reconstructions,
        "survival": runs.survival,
    }
    if collected.stage.name == "stage_a" and collected.conventional is not None:
        drawings["time_to_quality"] = scores.time_to_quality
    if collected.variants:
        drawings["by_value"] = settings.by_value
    if collected.stage.depth:
        drawings["gradient_norms"] = settings.gradient_norms
    with styled():
        for name, draw in drawings.items():
            save(draw(collected), folder, name)
