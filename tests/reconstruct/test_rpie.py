"""rPIE's laws: it finds the truth, stays there, and only what was measured counts."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.samples import DETAILED, SCANS, a_scan, apart, distance, truth_on

from ptycho_torch.config.scan import ConventionalSettings
from ptycho_torch.physics.predict import r_factor
from ptycho_torch.reconstruct.rpie import Rpie, reconstruct
from ptycho_torch.runtime.errors import InputError

REPLACED = ("amplitude_nHW", "positions_n2", "probe_MHW", "good_1HW")
EXTRA = ("snapshots", "on_iteration")


@pytest.fixture(scope="session")
def scan():
    return a_scan(side=32, step=4.0, frames=(9, 9), jitter=0.0, real="f8")


@pytest.fixture(scope="session")
def fractional():
    return a_scan(**DETAILED | {"frames": (6, 6)}, jitter=1.0)


def run(scan, *, start=None, **settings):
    """Reconstruct a scan, some arrays of it replaced; start: makes the first object, of a canvas
    with this origin and shape, and then in double precision."""
    real = settings.pop("real", "f4" if start is None else "f8")
    changes = {k: settings.pop(k) for k in REPLACED if k in settings}
    frames = changes.pop("amplitude_nHW", scan.amplitude_nHW).astype(real)
    scan = replace(scan, amplitude_nHW=frames, object_YX=None, **changes)
    extra = {key: settings.pop(key) for key in EXTRA if key in settings}
    settings = ConventionalSettings(**settings)
    if start is None:
        return reconstruct(scan, settings, **extra)
    solver = Rpie(scan, settings)
    solver.object_YX = torch.tensor(start(solver.origin, solver.object_YX.shape))
    error = [solver.iterate(number) for number in range(1, settings.iterations + 1)]
    found = dict(zip(("object_YX", "probe_MHW"), solver.results(), strict=True))
    return SimpleNamespace(**found, origin=solver.origin, error=error)


def error_of(result, scan):
    """Relative error of a reconstruction after one complex factor."""
    return apart((result.object_YX, result.origin), scan, (result.light_YX, result.origin))


@pytest.mark.parametrize(("batch", "bound"), [(1, 0.0015), (9, 0.003)])
def test_a_known_probe_finds_the_object(scan, batch, bound):
    result = run(scan, iterations=100, batch_size=batch)
    assert error_of(result, scan) < bound
    assert result.error[-1] < result.error[0] / 30
    assert len(result.error) == len(result.seconds) == 100


@pytest.mark.parametrize("batch", [1, 4, 0])
@pytest.mark.parametrize("modes", [1, 2])
def test_the_truth_is_a_fixed_point(batch, modes):
    made = a_scan(side=32, step=4.0, frames=(4, 4), jitter=1.0, modes=modes, real="f8")

    def truth(origin, shape):
        return truth_on(origin, shape, made)

    result = run(made, start=truth, iterations=3, batch_size=batch, refine_probe=True)
    true = truth_on(result.origin, result.object_YX.shape, made)
    np.testing.assert_allclose(result.object_YX, true, atol=1e-9)
    np.testing.assert_allclose(result.probe_MHW, made.probe_MHW, atol=1e-9)
    assert max(result.error) < 1e-9


@pytest.mark.parametrize("batch", [1, 0])
def test_one_frame_a_batch_is_the_published_step(fractional, batch):
    """One visit of one frame, written out in NumPy from the paper's equation."""
    probe, observed = fractional.probe_MHW[0], fractional.amplitude_nHW[0]
    begin = fractional.object_YX[10:34, 15:39].conj()
    wave = np.fft.fftshift(np.fft.fft2(begin * probe, norm="ortho"))
    new = np.fft.ifft2(np.fft.ifftshift(observed * wave / np.abs(wave)), norm="ortho")
    light = np.abs(probe) ** 2
    step = 0.7 * probe.conj() / (0.7 * light + 0.3 * light.max())
    one = {"amplitude_nHW": observed[None], "positions_n2": np.array([[2.0, 3.0]]), "iterations": 1}
    settings = {"alpha": 0.3, "object_step": 0.7, "batch_size": batch}
    result = run(fractional, start=lambda *canvas: begin, **one, **settings)
    np.testing.assert_allclose(result.object_YX, begin + step * (new - begin * probe), atol=1e-9)


@pytest.mark.parametrize(("batch", "each"), [(1, False), (10, True)])
def test_masked_pixels_do_not_matter(fractional, batch, each):
    """NaN and nonsense under the mask change nothing, and the rest still finds the object."""
    shape = fractional.amplitude_nHW.shape if each else (1, *fractional.amplitude_nHW.shape[1:])
    good = np.random.default_rng(1).random(shape) > 0.05
    settings = {"iterations": 30, "batch_size": batch}
    clean = run(fractional, good_1HW=good, **settings)
    spoiled = np.where(good, fractional.amplitude_nHW, np.nan)
    spoiled[..., 3, 4] = np.where(good[..., 3, 4], spoiled[..., 3, 4], 1e9)
    dirty = run(fractional, amplitude_nHW=spoiled, good_1HW=good, **settings)
    np.testing.assert_array_equal(clean.object_YX, dirty.object_YX)
    assert clean.error == dirty.error
    dark = run(fractional, amplitude_nHW=np.where(good, fractional.amplitude_nHW, 0), **settings)
    assert error_of(clean, fractional) < 0.3 * error_of(dark, fractional)


@pytest.mark.parametrize("batch", [1, 7])
def test_a_refined_probe_comes_back_from_a_perturbed_one(batch):
    scan = a_scan(**DETAILED, jitter=1.0)
    y, x = np.mgrid[:24, :24] - 11.5
    wrong = scan.probe_MHW * np.exp(0.6j * np.cos(x / 4)) * (1 + 0.2 * np.sin(y / 3))
    shared = {"probe_MHW": wrong, "batch_size": batch}
    result = run(scan, iterations=50, refine_probe=True, **shared)
    fixed = run(scan, iterations=10, **shared)
    assert np.linalg.norm(result.probe_MHW) == pytest.approx(np.linalg.norm(wrong), rel=1e-5)
    assert distance(result.probe_MHW[0], scan.probe_MHW[0]) < 0.01
    assert distance(wrong[0], scan.probe_MHW[0]) > 0.1
    assert result.error[-1] < 0.02 < 0.1 < fixed.error[-1]
    np.testing.assert_array_equal(fixed.probe_MHW, wrong.astype(np.complex64))
    late = run(scan, iterations=3, refine_probe=True, probe_from_iteration=3, **shared)
    assert late.error[:2] == fixed.error[:2] != result.error[:2]


@pytest.mark.parametrize("batch", [6, 16, 48])
def test_an_iteration_ends_no_worse_than_it_met_the_frames(batch):
    """49 noisy frames: were the last batch the one frame that is left over, the object and the
    probe would end fitted to its noise, at the cost of all others."""
    scan = a_scan(**DETAILED, jitter=1.0)
    noisy = np.sqrt(np.random.default_rng(1).poisson((20 * scan.amplitude_nHW) ** 2)) / 20
    result = run(scan, amplitude_nHW=noisy, iterations=30, batch_size=batch, refine_probe=True)
    last = result.predict(scan.positions_n2)
    assert r_factor(last, noisy.astype("f4")) < 0.99 * result.error[-1]


def test_the_canvas_follows_the_positions(scan):
    """Positions may be of any sign; the object comes with the position of its corner."""
    here = run(scan, iterations=2)
    there = run(scan, positions_n2=scan.positions_n2 + np.array([-70, 33]), iterations=2)
    assert (here.origin, there.origin) == ((1, 1), (-69, 34))
    np.testing.assert_allclose(there.object_YX, here.object_YX, atol=1e-6)


def test_the_probes_scale_is_given_or_that_of_the_frames(scan):
    given = run(scan, iterations=30)
    scaled = run(scan, probe_MHW=50 * scan.probe_MHW, iterations=30, probe_scale="frames")
    power = np.square(scan.amplitude_nHW).sum() / len(scan.amplitude_nHW)
    assert np.square(np.abs(scaled.probe_MHW)).sum() == pytest.approx(power, rel=1e-4)
    # What is known of the scale: with the given probe the modulus is the true one.
    off = np.abs(given.object_YX) - np.abs(truth_on(given.origin, given.object_YX.shape, scan))
    assert np.abs(off[20:-20, 20:-20]).max() < 0.05


def test_snapshots_and_seeds(scan):
    seen = []
    result = run(scan, iterations=5, snapshots=(2, 5), on_iteration=lambda *what: seen.append(what))
    np.testing.assert_array_equal(result.snapshots[2], run(scan, iterations=2).object_YX)
    np.testing.assert_array_equal(result.snapshots[5], result.object_YX)
    assert seen == list(enumerate(result.error, 1))
    assert run(scan, iterations=5, seed=1).error != result.error
    assert run(scan, iterations=5).error == result.error


def test_what_does_not_fit_is_refused(scan):
    with pytest.raises(InputError, match=": the frames are dark in all good pixels"):
        run(scan, iterations=1, amplitude_nHW=np.zeros((81, 32, 32)))
    with pytest.raises(InputError, match="has no probe, and rPIE needs one"):
        run(scan, iterations=1, probe_MHW=None)
    loud = np.full((81, 32, 32), 1e22)  # Met before the update that breaks the object.
    with pytest.raises(InputError, match="not finite after iteration 1"):
        run(scan, iterations=1, batch_size=0, amplitude_nHW=loud, refine_probe=True)


@pytest.mark.parametrize("name", SCANS)
def test_ours_agrees_with_ptychis(name):
    """Numbers stored by make_ptychi.py: same data, same alpha, one frame after the other; only the
    order of frames differs."""
    scan = a_scan(**DETAILED, jitter=SCANS[name])
    ours = run(scan, iterations=30)
    with np.load(Path(__file__).with_name("ptychi.npz")) as stored:
        theirs, origin = stored[f"{name}_rpie_object"], stored[f"{name}_rpie_origin"]
        assert ours.error[-1] < 1.5 * stored[f"{name}_rpie_error"]
        refined = stored[f"{name}_rpie_refined_probe"][0]
    light = ours.light_YX, ours.origin
    assert apart((theirs, origin), scan, light) < 0.02
    # One pixel beside it, which a wrong origin would be, is far away.
    assert apart((theirs, origin + 1), scan, light) > 0.2
    if name == "fractional":
        ours = run(scan, iterations=30, refine_probe=True)
        assert distance(refined, ours.probe_MHW[0]) < 0.02
