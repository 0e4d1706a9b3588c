"""Pty-chi beside ours: its stored numbers, and the adapter against a stand-in that takes notes."""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from tests.reconstruct.scans import SCANS, apart, as_scan, distance, make_scan

from ptycho_torch.config.scan import ConventionalSettings
from ptycho_torch.reconstruct.engine import reconstruct
from ptycho_torch.runtime.errors import InputError

SCAN = ("amplitude_nHW", "good_1HW")


def run(scan, engine="rpie", **more):
    """Reconstruct a scan; masks and other frames are the scan's, the rest is a setting."""
    scan = as_scan(scan, **{key: more.pop(key) for key in SCAN if key in more})
    return reconstruct(scan, ConventionalSettings(**more), engine=engine)


@pytest.mark.parametrize("name", SCANS)
def test_our_rpie_agrees_with_ptychis(name):
    """Same data, same alpha, one frame after the other; only the order of frames differs."""
    scan = make_scan(**SCANS[name])
    ours = run(scan, iterations=30)
    with np.load(Path(__file__).with_name("ptychi.npz")) as stored:
        theirs, origin = stored[f"{name}_rpie_object"], stored[f"{name}_rpie_origin"]
        assert ours.error[-1] < 1.5 * stored[f"{name}_rpie_error"]
        refined = stored[f"{name}_rpie_refined_probe"][0]
    known, light = (ours.object_YX, ours.origin), (ours.light_YX, ours.origin)
    assert apart((theirs, origin), known, light) < 0.02
    # One pixel beside it, which a wrong origin would be, is far away.
    assert apart((theirs, origin + 1), known, light) > 0.2
    if name == "fractional":
        ours = run(scan, iterations=30, refine_probe=True)
        assert distance(refined, ours.probe_MHW[0]) < 0.02


class Options(SimpleNamespace):
    """Takes every attribute, also nested ones."""

    def __getattr__(self, name):
        value = Options()
        setattr(self, name, value)
        return value


@pytest.fixture
def fake(monkeypatch):
    """A package named ptychi whose task notes what it is given and returns what it was given."""
    noted = SimpleNamespace(seeds=[], iterations=[])

    class Task:
        def __init__(self, options, **arrays):
            noted.options, noted.arrays = options, arrays
            loader = SimpleNamespace(generator=SimpleNamespace(manual_seed=noted.seeds.append))
            self.reconstructor = SimpleNamespace(dataloader=loader)
            self.run = noted.iterations.append

        def get_data_to_cpu(self, name, as_numpy):
            return noted.arrays[f"{name}_data"]

    names = ("ptychi", "ptychi.api", "ptychi.api.task", "torchvision", "torchvision.transforms")
    package, api, task, *_ = modules = [ModuleType(name) for name in names]
    api.RPIEOptions = Options
    api.ObjectPosOriginCoordsMethods = SimpleNamespace(SPECIFIED="specified")
    api.Devices = SimpleNamespace(CPU="cpu")
    package.api, api.task, task.PtychographyTask = api, task, Task
    for module in modules:
        module.__spec__ = ModuleSpec(module.__name__, None)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return noted


def test_the_adapter_minds_the_conventions(fake):
    """Window centres with a half-pixel origin, counts, a probe over N, frames' seed, no gauge, and
    one mask for all frames."""
    scan = make_scan(side=16, step=3, frames=2, corner=(-5, 7))
    good = np.ones((1, 16, 16), bool)
    good[0, 3, 4] = False
    frames = np.where(good, scan.amplitude, np.nan)
    settings = {"iterations": 2, "seed": 9, "alpha": 0.3, "engine": "ptychi-rpie"}
    made = run(scan, amplitude_nHW=frames, good_1HW=good, **settings)
    arrays, options = fake.arrays, fake.options
    corners = scan.positions - made.origin
    np.testing.assert_allclose(arrays["probe_position_y_px"] + 0.5, corners[:, 0] + 7.5)
    np.testing.assert_allclose(arrays["probe_position_x_px"] + 0.5, corners[:, 1] + 7.5)
    assert corners.min() >= 2
    assert options.object_options.position_origin_coords == [0.5, 0.5]
    counts = np.where(good, scan.amplitude, 0) ** 2
    np.testing.assert_allclose(arrays["diffraction_data"], counts, rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(arrays["valid_pixel_mask"], good[0])
    np.testing.assert_allclose(arrays["probe_data"][0] * 16, scan.probe, rtol=1e-6)
    np.testing.assert_allclose(made.probe_MHW, scan.probe, rtol=1e-6)
    assert (fake.seeds, fake.iterations) == ([9], [1, 1])
    assert options.object_options.remove_object_probe_ambiguity.enabled is False
    assert options.object_options.alpha == 0.3
    assert options.probe_options.optimizable is False
    with pytest.raises(InputError, match="one mask for all frames"):
        run(scan, amplitude_nHW=frames, good_1HW=np.repeat(good, 4, axis=0), **settings)
