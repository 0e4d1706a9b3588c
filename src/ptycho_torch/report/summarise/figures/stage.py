"""Every figure of a stage, by name."""

from pathlib import Path

from matplotlib.figure import Figure

from ptycho_torch.report.summarise.figures import runs as run_figures
from ptycho_torch.report.summarise.figures import scores as score_figures
from ptycho_torch.report.summarise.figures import settings as setting_figures
from ptycho_torch.report.summarise.figures.speed import time_to_quality
from ptycho_torch.report.summarise.findings import Findings
from ptycho_torch.runtime.plot_style import save, styled


def write_figures(findings: Findings, folder: Path) -> None:
    """Draw and save a stage's figures as PNG and SVG."""
    with styled():
        for name, figure in _figures(findings).items():
            save(figure, folder, name)


def _figures(findings: Findings) -> dict[str, Figure]:
    collected, arms, loss = findings.collected, findings.stage.arms, findings.loss
    names = set(collected.runs["val_loss_name"])
    column = names.pop() if len(names) == 1 else "mae_val_loss"
    floor = collected.dataset["splits"]["validation"].get("noise_floor")
    is_mae = column == "mae_val_loss"
    references = score_figures.loss_references(loss, is_mae, floor)
    figures = {
        "learning_curves": run_figures.learning_curves(
            collected, arms, column, floor if is_mae else None
        ),
        "metric_spread": score_figures.metric_spread(collected, arms, loss, references),
        "reconstructions": score_figures.reconstructions(collected, arms),
        "survival": run_figures.survival(findings.curves, findings.confidence),
    }
    if findings.name == "stage_a" and collected.conventional is not None:
        figures["time_to_quality"] = time_to_quality(collected, arms)
    if findings.name in findings.study.sweeps:
        figures["by_value"] = setting_figures.by_value(findings)
    if findings.stage.depth:
        figures["gradient_norms"] = setting_figures.gradient_norms(findings)
    return figures
