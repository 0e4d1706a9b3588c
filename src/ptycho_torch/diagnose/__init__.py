"""Diagnose: why a run went as it did: gradients, activations, loss units."""
