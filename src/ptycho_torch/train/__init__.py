"""Verb 2: fit one arm at one seed; what goes wrong is a result."""
