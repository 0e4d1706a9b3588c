"""Runs of the tiny study, trained in process."""

import pytest

from ptycho_torch.train.module import PtychoModule


@pytest.fixture
def train_tiny(train_into, tmp_path):
    """Train into a named folder of this test."""
    return lambda *, folder="run", **changes: train_into(tmp_path / folder, **changes)


@pytest.fixture
def plant_losses(monkeypatch):
    """Let training see `change(step, loss)`; steps count from 1. Returns the weights at each."""
    original = PtychoModule.training_loss

    def plant(change):
        weights = []

        def planted(self, batch):
            weights.append(self.snapshot().weights)
            return change(len(weights), original(self, batch))

        monkeypatch.setattr(PtychoModule, "training_loss", planted)
        return weights

    return plant
