"""The learning curve of one run as a picture, PNG and SVG."""

from pathlib import Path

import pandas as pd
from matplotlib.ticker import MaxNLocator

from ptycho_torch.runtime.plot_style import COLOURS, new_figure, save, styled


def draw_learning_curve(history: pd.DataFrame, folder: Path, *, loss: str, title: str) -> None:
    """Draw training and validation loss against epochs into `learning_curve.png` and `.svg`.

    Parameters
    ----------
    history
        As `history.csv`; without an epoch the picture says so.
    loss
        `mae` or `poisson`.
    """
    with styled():
        figure = new_figure(5.2, 3.2)
        axes = figure.subplots()
        if history.empty:
            axes.text(0.5, 0.5, "no epoch was finished", ha="center", transform=axes.transAxes)
        else:
            for name, colour in ((f"{loss}_train_loss", 1), (f"{loss}_val_loss", 2)):
                label = "training" if "train" in name else "validation (held-out block)"
                axes.plot(
                    history["epoch"], history[name], "o-", ms=3, color=COLOURS[colour], label=label
                )
            axes.legend()
            if (history[[f"{loss}_train_loss", f"{loss}_val_loss"]] > 0).all(axis=None):
                axes.set_yscale("log")
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"relative {'MAE' if loss == 'mae' else 'Poisson'} loss")
        axes.set_title(title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        save(figure, folder, "learning_curve")
