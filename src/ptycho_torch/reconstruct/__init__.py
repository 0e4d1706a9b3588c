"""Reconstruct: a scan in, the object by an iterative engine out."""
