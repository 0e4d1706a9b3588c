"""The ways of a training step that are timed are equal, and each takes back what it says."""

from unittest.mock import patch

import pytest
import torch
from torch import nn

from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.networks import truncated

SMALL = GeneratorSettings(name="hybrid", width=4, fno_blocks=2, modes=4)


def test_all_ways_of_a_step_are_the_same_step(bench):
    data = bench("training_step").make_data(16, 2)
    losses = {}
    with patch.object(truncated, "pays", return_value=True):
        made = bench("ways").programs(SMALL, data, compiled=False)
    for name, step in made.items():
        losses[name] = [float(step()) for _ in range(3)]
    for name, found in losses.items():
        assert found == pytest.approx(losses["ours"], rel=1e-4), name


def test_a_way_that_is_taken_back_is_the_librarys(bench):
    """All seven 3x3 convolutions."""
    data = bench("training_step").make_data(16, 2)
    plain = nn.Conv2d.forward
    with patch.object(nn.Conv2d, "forward", autospec=True, side_effect=plain) as called:
        made = bench("ways").programs(SMALL, data, compiled=False)
        made["ours"]()
        alone = called.call_count
        made["ours, 3x3 by the library"]()
    assert called.call_count == 2 * alone + 7


def test_the_weight_gradients_are_one(bench):
    ways = bench("ways").weight_gradients((3, 2, 8), batch=2)
    torch.manual_seed(0)
    library, *others = (way() for way in ways.values())
    for other in others:
        torch.testing.assert_close(other, library, rtol=1e-4, atol=1e-4)
