"""Summarise: what the runs of a stage, of the study, and of measurements show; torch-free."""
