"""Recomputing in the backward pass keeps less and changes no number."""

import copy

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.networks import GENERATORS, build_generator
from ptycho_torch.networks.blocks import FourierBlock
from ptycho_torch.networks.checkpointing import recompute_parts

SIDE = 16


def build(name, **changes):
    base = {"name": name, "width": 6, "fno_blocks": 4, "modes": 4}
    if name != "fno":
        base["levels"] = 2
    settings = GeneratorSettings.model_validate({**base, **changes})
    network = build_generator(settings, channels=2, patch_px=SIDE, seed=3)
    for block in network.modules():  # a zero norm would hide the spectral layer
        if isinstance(block, FourierBlock) and hasattr(block, "norm") and block.norm.affine:
            torch.nn.init.ones_(block.norm.weight)
    return network


def amplitudes(groups=3):
    return torch.rand(groups, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def train(network, steps=4):
    """Return the losses of some steps."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2, fused=True)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (network(amplitudes()) - 1).abs().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def saved_bytes(network):
    """Return the bytes that a forward pass keeps for the backward pass, weights not counted."""
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            # Held until the sum is taken, so that no address stands for two tensors.
            kept[storage.data_ptr()] = storage
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        network(amplitudes())
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("name", GENERATORS)
def test_losses_and_weights_are_the_same_bit_for_bit(name):
    plain, lean = build(name), recompute_parts(build(name))
    losses = train(plain)
    assert train(lean) == losses and losses[-1] < losses[0]
    assert list(lean.state_dict()) == list(plain.state_dict())
    pairs = zip(lean.parameters(), plain.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", GENERATORS)
def test_less_is_kept_for_the_backward_pass(name):
    lean, plain = saved_bytes(recompute_parts(build(name))), saved_bytes(build(name))
    assert 0 < lean < 0.5 * plain


def test_a_block_more_keeps_its_input_alone():
    """Twelve blocks at full resolution, then thirteen: one more tensor of the block's size."""
    kept = [
        saved_bytes(recompute_parts(build("hybrid", levels=1, fno_blocks=blocks)))
        for blocks in (12, 13)
    ]
    assert kept[1] - kept[0] == 3 * 6 * SIDE * SIDE * 4


def test_each_part_works_once_forward_and_once_more_backward():
    """Without gradients it works once, as in validation and inference."""
    network = recompute_parts(build("hybrid"))
    calls = []
    for block in network.modules():
        if isinstance(block, FourierBlock):
            block.spectral.register_forward_hook(lambda module, *_: calls.append(module))
    for without_gradients in (torch.no_grad, torch.inference_mode):
        with without_gradients():
            network(amplitudes())
    assert len(calls) == 10
    network(amplitudes()).abs().mean().backward()
    assert len(calls) == 20


def test_a_copy_has_parts_of_its_own():
    network = recompute_parts(build("hybrid"))
    other = copy.deepcopy(network)
    other(amplitudes()).abs().sum().backward()
    assert all(p.grad is not None for p in other.parameters())
    assert all(p.grad is None for p in network.parameters())
