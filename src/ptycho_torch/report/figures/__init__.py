"""Figures of the summaries: each function returns a figure, which `plot_style.save` writes."""
