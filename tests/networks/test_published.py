"""Each layer beside a plain version of the published networks: torch.fft and torch's own layers.

The plain version stores every mode, as published, takes the weights by name, and returns what each
layer gives; nothing of the package takes part in it.
"""

import pytest
import torch
from torch.fft import irfft2, rfft2
from torch.nn.functional import conv2d, conv_transpose2d, gelu, instance_norm

from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.networks import build_generator, count_parameters
from ptycho_torch.train.clip import unit_axes


class Plain:
    """What each named layer of a network with `weights` gives for an input."""

    def __init__(self, weights, modes):
        self.weights, self.modes, self.outputs = weights, modes, {}

    def keep(self, name, value):
        self.outputs[name] = value
        return value

    def conv(self, name, x, **how):
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        how.setdefault("padding", weight.shape[-1] // 2)
        return self.keep(name, conv2d(x, weight, bias, **how))

    def lift(self, x):
        return self.keep("lift", self.conv("lift.second", gelu(self.conv("lift.first", x))))

    def spectral(self, name, x, modes):
        stored = self.weights[f"{name}.weight"]  # (rows, columns, I, 2, O)
        rows, columns, inputs, _, outputs = stored.shape
        full = torch.zeros(inputs, outputs, modes, modes, dtype=torch.complex64)
        full[..., :rows, :columns] = torch.complex(stored[..., 0, :], stored[..., 1, :]).permute(
            2, 3, 0, 1
        )
        spectrum = rfft2(x)
        rows, columns = min(modes, x.shape[-2]), min(modes, x.shape[-1] // 2 + 1)
        mixed = torch.zeros(len(x), outputs, *spectrum.shape[-2:], dtype=torch.complex64)
        mixed[..., :rows, :columns] = torch.einsum(
            "bixy,ioxy->boxy", spectrum[..., :rows, :columns], full[..., :rows, :columns]
        )
        return self.keep(name, irfft2(mixed, s=x.shape[-2:]))

    def block(self, name, x, modes):
        spectral = self.spectral(f"{name}.spectral", x, modes)
        update = gelu(spectral + self.conv(f"{name}.local", x))
        if (weight := self.weights.get(f"{name}.norm.weight")) is not None:
            bias = self.weights[f"{name}.norm.bias"]
            update = self.keep(f"{name}.norm", instance_norm(update, weight=weight, bias=bias))
        if (scale := self.weights.get(f"{name}.scale")) is not None:
            update = scale[:, None, None] * update
        return self.keep(name, x + update)

    def u_shape(self, amplitude, blocks_of_levels):
        x, skips = self.lift(amplitude), []
        for level, blocks in enumerate(blocks_of_levels):
            if level:
                skips.append(x)
                x = self.conv(f"down.{level - 1}", x, stride=2, padding=0)
            for block in range(blocks):
                x = self.block(f"levels.{level}.{block}", x, self.modes)
        x = self.block("bottleneck", x, self.modes // 2)
        for stage, skip in enumerate(reversed(skips)):
            weight, bias = (self.weights[f"up.{stage}.up.{part}"] for part in ("weight", "bias"))
            x = torch.cat([conv_transpose2d(x, weight, bias, stride=2), skip], dim=1)
            x = self.conv(f"up.{stage}.second", gelu(self.conv(f"up.{stage}.first", x)))
            self.keep(f"up.{stage}", x)
        return self.conv("head", x)

    def cascade(self, amplitude, blocks):
        x = self.lift(amplitude)
        for block in range(blocks):
            x = self.block(f"blocks.{block}", x, self.modes)
        x = self.conv("refine.0", x)
        for layer in (1, 3):
            x = gelu(self.conv(f"refine.{layer}", x))
        return self.conv("head", self.keep("refine", x))


def built(name, **changes):
    settings = {"width": 6, "fno_blocks": 4, "modes": 6, **changes}
    network = build_generator(
        GeneratorSettings(name=name, **settings), channels=2, patch_px=32, seed=3
    )
    # Weights that start at 0 or 1 would hide a layer that is missing or misplaced.
    stream = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for key, weight in network.named_parameters():
            if "norm" in key or "scale" in key or key.endswith("bias"):
                weight.copy_(torch.randn(weight.shape, generator=stream) * 0.5 + 0.3)
    return network


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("hybrid", (1, 1, 2)),
        ("stable_hybrid", (1, 1, 2)),
        ("layerscale_hybrid", (1, 1, 2)),
        ("hybrid", (4,)),
        ("fno", None),
    ],
)
def test_every_layer_gives_what_the_published_network_gives(name, levels):
    network = built(name, **({} if levels is None else {"levels": len(levels)}))
    plain = Plain(network.state_dict(), modes=6)
    amplitude = torch.rand(3, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    ours = {}
    for key, module in network.named_modules():
        module.register_forward_hook(
            lambda module, inputs, output, key=key: ours.setdefault(key, output)
        )
    with torch.no_grad():
        patches = network(amplitude)
        raw = plain.cascade(amplitude, 4) if levels is None else plain.u_shape(amplitude, levels)
    for key, expected in plain.outputs.items():
        scale = expected.abs().max()
        error = ((ours[key] - expected).abs().max() / scale).item()
        assert error < 1e-5, f"{key}: {error:.1e}"
    torch.testing.assert_close(patches, torch.complex(raw[:, :2], raw[:, 2:]), rtol=1e-4, atol=1e-4)
    # Whatever has weights was compared.
    owners = {key.rpartition(".")[0] for key, _ in network.named_parameters()}
    assert {key.removesuffix(".up") for key in owners} <= plain.outputs.keys()


@pytest.mark.parametrize(
    ("name", "stored", "full"),
    [
        ("hybrid", 9_403_618, 17_202_402),
        ("stable_hybrid", 9_405_090, 17_203_874),
        ("layerscale_hybrid", 9_405_826, 17_204_610),
        ("fno", 656_002, 656_002),
    ],
)
def test_counts_at_the_protocols_size(name, stored, full):
    settings = GeneratorSettings(name=name, width=32, fno_blocks=4, modes=12)
    network = build_generator(settings, channels=1, patch_px=64, seed=0)
    assert count_parameters(network) == {"stored": stored, "full": full}
    assert len(unit_axes(network)) == len(list(network.parameters()))
