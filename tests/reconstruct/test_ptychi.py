"""Pty-chi beside ours: its stored numbers, and the adapter against a stand-in that takes notes."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from tests.reconstruct.scans import SCANS, distance, make_scan

from ptycho_torch.config.reconstruct import RpieSettings
from ptycho_torch.reconstruct import ptychi_adapter
from ptycho_torch.reconstruct.ptychi_adapter import reconstruct_ptychi
from ptycho_torch.reconstruct.rpie import reconstruct_rpie
from ptycho_torch.runtime.errors import InputError


@pytest.fixture(scope="module")
def stored():
    with np.load(Path(__file__).with_name("ptychi.npz")) as file:
        return dict(file)


def apart(found, origin, result):
    """Relative distance of an object to ours, less one complex factor, where light fell."""
    rows, columns = np.nonzero(result.light_YX > 0.1 * result.light_YX.max())
    ours = result.object_YX[rows, columns]
    shift = np.subtract(result.origin, origin)
    theirs = found[rows + shift[0], columns + shift[1]]
    factor = np.vdot(theirs, ours) / np.vdot(theirs, theirs)
    return float(np.linalg.norm(factor * theirs - ours) / np.linalg.norm(ours))


@pytest.mark.parametrize("name", SCANS)
def test_our_rpie_agrees_with_ptychis(stored, name):
    """Same data, same alpha, one frame after the other; only the order of frames differs."""
    scan = make_scan(**SCANS[name])
    ours = reconstruct_rpie(
        scan.amplitude.astype("f4"), scan.positions, scan.probe, RpieSettings(iterations=30)
    )
    theirs = stored[f"{name}_rpie_object"]
    assert apart(theirs, stored[f"{name}_rpie_origin"], ours) < 0.02
    assert ours.error[-1] < 1.5 * stored[f"{name}_rpie_error"]
    # One pixel beside it, which a wrong origin would be, is far away.
    assert apart(theirs, stored[f"{name}_rpie_origin"] + 1, ours) > 0.2
    lsqml = stored[f"{name}_lsqml_object"]
    assert apart(lsqml, stored[f"{name}_lsqml_origin"], ours) < 0.05


def test_a_refined_probe_agrees_as_well(stored):
    scan = make_scan(**SCANS["fractional"])
    ours = reconstruct_rpie(
        scan.amplitude.astype("f4"),
        scan.positions,
        scan.probe,
        RpieSettings(iterations=30, refine_probe=True),
    )
    assert distance(stored["fractional_rpie_refined_probe"][0], ours.probe_MHW[0]) < 0.02


class Options(SimpleNamespace):
    """Takes every attribute, also nested ones."""

    def __getattr__(self, name):
        value = Options()
        setattr(self, name, value)
        return value


@pytest.fixture
def fake(monkeypatch):
    """A package named ptychi whose task notes what it is given and returns what it was given."""
    noted = {}

    class Task:
        def __init__(self, options, **arrays):
            noted.update(options=options, arrays=arrays, seeds=[], iterations=[])
            generator = SimpleNamespace(manual_seed=noted["seeds"].append)
            loader = SimpleNamespace(generator=generator)
            self.reconstructor = SimpleNamespace(dataloader=loader)

        def run(self, iterations):
            noted["iterations"].append(iterations)

        def get_data_to_cpu(self, name, as_numpy):
            return noted["arrays"][f"{name}_data"]

    package, api, task = (ModuleType(n) for n in ("ptychi", "ptychi.api", "ptychi.api.task"))
    api.RPIEOptions = api.LSQMLOptions = Options
    api.ObjectPosOriginCoordsMethods = SimpleNamespace(SPECIFIED="specified")
    api.Devices = SimpleNamespace(CPU="cpu")
    package.api, api.task, task.PtychographyTask = api, task, Task
    for module in (package, api, task):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in ("torchvision", "torchvision.transforms"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    return noted


def test_the_adapter_minds_the_conventions(fake):
    """Window centres with a half-pixel origin, counts, a probe over N, frames' seed, no gauge."""
    scan = make_scan(side=16, step=3, frames=2, corner=(-5, 7))
    use = np.array([True, True, False, True])
    settings = RpieSettings(iterations=2, seed=9, alpha=0.3, batch_size=None)
    made = reconstruct_ptychi(
        scan.amplitude.astype("f4"), scan.positions, scan.probe, settings, use_n=use
    )
    arrays, options = fake["arrays"], fake["options"]
    corners = scan.positions[use] - made.origin
    np.testing.assert_allclose(arrays["probe_position_y_px"] + 0.5, corners[:, 0] + 7.5)
    np.testing.assert_allclose(arrays["probe_position_x_px"] + 0.5, corners[:, 1] + 7.5)
    assert options.object_options.position_origin_coords == [0.5, 0.5]
    np.testing.assert_allclose(
        arrays["diffraction_data"], scan.amplitude[use] ** 2, rtol=1e-5, atol=1e-9
    )
    np.testing.assert_allclose(arrays["probe_data"][0] * 16, scan.probe, rtol=1e-6)
    np.testing.assert_allclose(made.probe_MHW, scan.probe, rtol=1e-6)
    assert fake["seeds"] == [9]
    assert fake["iterations"] == [1, 1]
    assert options.object_options.remove_object_probe_ambiguity.enabled is False
    assert options.object_options.alpha == 0.3
    assert options.probe_options.optimizable is False
    assert made.object_YX.shape == arrays["object_data"].shape[1:]


def test_the_adapter_hands_over_masks_and_lsqmls_known_probe(fake):
    scan = make_scan(side=16, step=3, frames=2)
    good = np.ones((1, 16, 16), bool)
    good[0, 3, 4] = False
    frames = scan.amplitude.astype("f4")
    frames[:, 3, 4] = np.nan
    reconstruct_ptychi(
        frames,
        scan.positions,
        scan.probe,
        RpieSettings(iterations=1),
        engine="ptychi-lsqml",
        good_1HW=good,
    )
    assert (fake["arrays"]["diffraction_data"][:, 3, 4] == 0).all()
    np.testing.assert_array_equal(fake["arrays"]["valid_pixel_mask"], good[0])
    run = fake["options"].reconstructor_options
    assert run.rescale_probe_intensity_in_first_epoch is False
    with pytest.raises(InputError, match="one mask for all frames"):
        reconstruct_ptychi(
            frames, scan.positions, scan.probe, RpieSettings(), good_1HW=np.repeat(good, 4, axis=0)
        )


def test_without_ptychi_the_cure_is_said(monkeypatch):
    monkeypatch.delitem(sys.modules, "ptychi", raising=False)
    monkeypatch.setattr(ptychi_adapter.importlib.util, "find_spec", lambda name: None)
    scan = make_scan(side=16, step=3, frames=2)
    with pytest.raises(InputError, match="ptychi .* not installed here: make setup-baseline"):
        reconstruct_ptychi(scan.amplitude, scan.positions, scan.probe, RpieSettings())
