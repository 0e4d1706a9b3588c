"""Noun 1: propagation, the forward model, likelihoods, and where patches lie."""
