"""Every figure of a stage, by name."""

from pathlib import Path

from ptycho_torch.report.collect import Collected
from ptycho_torch.report.figures import images, rows, runs, stress
from ptycho_torch.runtime.plot_style import save, styled
from ptycho_torch.statistics.stress import Stress


def write_figures(collected: Collected, found: Stress | None, folder: Path) -> None:
    """Draw and save a stage's figures as PNG and SVG."""
    with styled():
        if found is not None:
            save(stress.loss_by_rate(collected, found), folder, "loss_by_rate")
            save(stress.areas(found), folder, "areas")
            return
        drawings = [runs.learning_curves, rows.metric_spread, images.reconstructions, runs.survival]
        if collected.variants:
            drawings.append(rows.by_value)
        if collected.stage.depth:
            drawings.append(runs.gradient_norms)
        for draw in drawings:
            save(draw(collected), folder, draw.__name__)
