"""Samples of the tiny dataset, and settings."""

import pytest

from ptycho_torch.config.evaluation import DiagnosticsSettings


@pytest.fixture
def settings():
    return DiagnosticsSettings()


@pytest.fixture
def sample(tiny_dataset):
    from ptycho_torch.diagnose.subject import read_sample

    return read_sample(tiny_dataset.splits["train"], patch_px=16, groups=8)
