"""Verb 1: make datasets with phase, from named random streams."""

from ptycho_torch import callable_as

callable_as(__name__, "dataset:simulate")
