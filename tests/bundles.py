"""Bundles of networks that were never trained."""

import torch

from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.networks import build_generator
from ptycho_torch.networks.bundle import Bundle, BundleSettings


def untrained_bundle(probe_MHW=None, *, gridsize=1, **changes):
    """A small network's bundle for frames of 16 px, with changed settings."""
    settings = {
        "generator": GeneratorSettings(name="hybrid", width=4, fno_blocks=2, modes=4),
        **{"patch_px": 16, "channels": gridsize**2, "gridsize": gridsize, "object_big": True},
        **{"input_scale": 1.0, "norm_Y_I": 4.0, "intensity_scale": 900.0, "mean_amplitude": 0.1},
        **{"intensity_scale_source": "measured", "dataset": "tiny", **changes},
    }
    network = build_generator(
        settings["generator"], channels=gridsize**2, patch_px=settings["patch_px"], seed=1
    )
    probe = torch.ones(1, 16, 16) if probe_MHW is None else torch.as_tensor(probe_MHW)
    return Bundle(
        settings=BundleSettings(**settings), weights=network.state_dict(),
        probe_MHW=probe.to(torch.complex64), record={"seed": 1},
    )  # fmt: skip
