"""One Fourier block by itself, and spectral weights as they were before their variance was kept."""

from typing import Any

import torch
from torch import nn
from torch.nn.functional import l1_loss

from ptycho_torch.config.evaluation import DiagnosticsSettings
from ptycho_torch.diagnose.activations import monitor_activations
from ptycho_torch.diagnose.gradients import probe_gradients
from ptycho_torch.networks.blocks import FourierBlock, LayerScaleFourierBlock, StableFourierBlock
from ptycho_torch.networks.spectral import SpectralConv
from ptycho_torch.runtime.streams import named_seed

BLOCKS: dict[str, type[FourierBlock]] = {
    "hybrid": FourierBlock,
    "stable_hybrid": StableFourierBlock,
    "layerscale_hybrid": LayerScaleFourierBlock,
}


def redraw(network: nn.Module, seed: int) -> None:
    """Draw all spectral weights again as the published code does: U[0, 1) / (in * out), both parts.

    Their mean squared modulus is 2 / (3 in^2 out^2); the variance-preserving one is 1 / in. Li et
    al. (2021), Fourier neural operator, arXiv:2010.08895, and its code.
    """
    stream = torch.Generator().manual_seed(named_seed(seed, "1/(in*out)"))
    for module in network.modules():
        if isinstance(module, SpectralConv):
            _, _, inputs, _, outputs = module.weight.shape
            drawn = torch.rand(module.weight.shape, generator=stream) / (inputs * outputs)
            with torch.no_grad():
                module.weight.copy_(drawn)


def probe_block(
    kind: str, *, channels: int, modes: int, patch_px: int, seed: int,
    settings: DiagnosticsSettings,
) -> dict[str, Any]:  # fmt: skip
    """Return the gradient probe of one block, with both initial distributions side by side.

    Input and target are white noise of variance 1, the loss is the mean absolute difference. Noise
    has no dominant low frequency, as real data have: numbers of a network on data differ.

    Returned is `probe_gradients` of the block as it is built, and `initialisations`: for each the
    same keys without blocks, `spectral_local_output_ratio`, and `spectral_weights`.
    """
    stream = torch.Generator().manual_seed(named_seed(seed, "block probe"))
    x, target = (torch.randn(8, channels, patch_px, patch_px, generator=stream) for _ in range(2))
    probes, sides = [], {}
    for initialisation in ("1/in", "1/(in*out)"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            block = BLOCKS[kind](
                channels, modes, size_px=(patch_px, patch_px), two_sided=False,
                generator=torch.Generator().manual_seed(seed),
            )  # fmt: skip
        if initialisation == "1/(in*out)":
            redraw(block, seed)
        probe = probe_gradients(
            block, lambda net=block: l1_loss(net(x), target),  # type: ignore[misc]
            min_ratio=settings.min_gradient_ratio,
        )  # fmt: skip
        outputs = monitor_activations(block, x, settings)["spectral_local_output_ratio"]
        probes.append({**probe, "spectral_local_output_ratio": outputs})
        sides[initialisation] = {
            **{k: v for k, v in probes[-1].items() if k not in ("blocks", "flagged_blocks")},
            "spectral_weights": probe["blocks"][0]["spectral_weights"],
        }
    return {**probes[0], "initialisations": sides}
