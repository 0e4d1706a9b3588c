"""Decide: which arm goes on to depth, and what the whole study supports; torch-free."""
