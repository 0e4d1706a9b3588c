"""Figures of a stage; each function returns a figure, `style.save` writes it."""
