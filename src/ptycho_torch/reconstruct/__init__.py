"""Reconstruct: a scan in, the object by an iterative engine out."""

from ptycho_torch import callable_as

callable_as(__name__, "rpie:reconstruct_frames")
