"""Make neuraloperator.npz: what the library's own spectral layer gives, for a test to compare with.

Its tree is heavy, so it is no dependency, not even of the tests. To make the file again:

    .venv/bin/pip install --no-deps --target build/oracle neuraloperator==2.0.0 tensorly \\
        tensorly-torch opt_einsum
    PYTHONPATH=build/oracle .venv/bin/python tests/networks/make_oracle.py
"""

import importlib
import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import torch

MODES, IN, OUT, SIDE = 3, 2, 3, 12


def library_layer():
    """Return the library's class without what its packages import."""
    found = importlib.util.find_spec("neuralop")
    for name in ("neuralop", "neuralop.layers"):
        package = types.ModuleType(name)
        folder = Path(found.submodule_search_locations[0]).parent.joinpath(*name.split("."))
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    return importlib.import_module("neuralop.layers.spectral_convolution").SpectralConv


def main():
    """Write rows -3..2 and columns 0..2 of a random weight, an input and the library's output."""
    stream = torch.Generator().manual_seed(0)
    weight = torch.randn(2 * MODES, MODES, IN, OUT, dtype=torch.complex64, generator=stream)
    x = torch.randn(2, IN, SIDE, SIDE, generator=stream)
    layer = library_layer()(IN, OUT, n_modes=(2 * MODES, 2 * MODES), bias=False)
    with torch.no_grad():
        (stored,) = layer.parameters()  # (in, out, rows -3..2, columns 0..3)
        stored.zero_()
        stored[..., :MODES] = weight.permute(2, 3, 0, 1)
        output = layer(x)
    path = Path(__file__).with_name("neuraloperator.npz")
    np.savez(path, weight=weight.numpy(), x=x.numpy(), output=output.numpy())


if __name__ == "__main__":
    main()
