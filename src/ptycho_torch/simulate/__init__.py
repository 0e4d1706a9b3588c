"""Verb 1: make datasets with phase, from named random streams."""
