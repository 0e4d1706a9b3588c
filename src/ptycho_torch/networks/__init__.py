"""Noun 2: networks that map diffraction amplitudes to complex object patches, by name."""

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ptycho_torch.config.generator import GeneratorSettings, imported
from ptycho_torch.networks.generators import FNO, FourierUNet
from ptycho_torch.networks.layers import (
    DepthScaledFourierBlock,
    FeedForwardFourierBlock,
    FourierBlock,
    LayerScaleFourierBlock,
    SpectralConv,
    StableFourierBlock,
)

BLOCKS: dict[str, type[FourierBlock]] = {
    "hybrid": FourierBlock,
    "stable_hybrid": StableFourierBlock,
    "layerscale_hybrid": LayerScaleFourierBlock,
    "depthscale_hybrid": DepthScaledFourierBlock,
    "ffno_hybrid": FeedForwardFourierBlock,
}
GENERATORS: dict[str, Callable[..., nn.Module]] = {
    **{name: partial(FourierUNet, block=block) for name, block in BLOCKS.items()},
    "fno": partial(FNO, block=FourierBlock),
}


def build_generator(
    settings: GeneratorSettings, *, channels: int, patch_px: int, seed: int
) -> nn.Module:
    """Return a new network for groups of C = `channels` patches, with weights drawn from `seed`
    alone; the global random state is left as it was. `ValueError` if the settings cannot be built
    at this patch size, or a class of your own is no network for such patches."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if ":" in settings.name:
            return _own_network(settings, channels, patch_px)
        stream = torch.Generator().manual_seed(seed)
        sizes = {"channels": channels, "patch_px": patch_px}
        network = GENERATORS[settings.name](settings, generator=stream, **sizes)
    for module in network.modules():
        # Faster with the channels innermost; the axes of other weights have another meaning.
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _own_network(settings: GeneratorSettings, channels: int, patch_px: int) -> nn.Module:
    """Return a network of a user's own, once it has been seen to give complex patches."""
    try:
        network = imported(settings.name)(channels=channels, patch_px=patch_px, **settings.settings)
    except TypeError as error:
        raise ValueError(
            f"settings: {error}; '{settings.name}' is called with channels, patch_px and these"
        ) from None
    shape = (2, channels, patch_px, patch_px)
    with torch.no_grad():
        patches = network.eval()(torch.ones(shape))
    known = isinstance(patches, Tensor)
    if not known or patches.shape != shape or not patches.is_complex():
        seen = f"{patches.dtype} {tuple(patches.shape)}" if known else "no tensor"
        raise ValueError(
            f"name: '{settings.name}' maps amplitudes {shape} to {seen}, expected complex object "
            "patches of the same shape"
        )
    return network.train()


def count_parameters(network: nn.Module) -> dict[str, int]:
    """Return the number of weights, complex ones counted once: `stored`, those that exist; `full`,
    with the modes that small frames do not have, which the reference stores and never uses."""
    spectral = [m for m in network.modules() if isinstance(m, SpectralConv)]
    complex_weights = sum(m.weight.numel() // 2 for m in spectral)
    stored = sum(p.numel() for p in network.parameters()) - complex_weights
    full = stored - complex_weights + sum(m.full_parameters for m in spectral)
    return {"stored": stored, "full": full}


def count_flops(network: nn.Module, frames: tuple[int, int, int, int]) -> int | None:
    """Return the FLOPs of convolutions and matrix products in a step, forward and backward, on
    frames (B, C, H, W); None if a network of a user's own cannot be counted without values."""
    # On torch's `meta` device tensors have no values, and cost nothing.
    copied = copy.deepcopy(network).to("meta")
    try:
        with FlopCounterMode(display=False) as flops:
            copied(torch.empty(frames, device="meta")).abs().sum().backward()
    except (RuntimeError, NotImplementedError):
        return None
    return int(flops.get_total_flops())
