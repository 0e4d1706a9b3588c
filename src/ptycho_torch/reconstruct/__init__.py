"""Reconstruct: a scan in, the object by a conventional engine out."""
