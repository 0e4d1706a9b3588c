"""Verb 3: score reconstructions, test for the twin, and say how a run ended; torch-free."""

from ptycho_torch import callable_as

callable_as(__name__, "block:evaluate")
