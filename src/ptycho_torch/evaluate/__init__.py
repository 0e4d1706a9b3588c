"""Verb 3: score reconstructions, test for the twin, and say how a run ended; torch-free."""
