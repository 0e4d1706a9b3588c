"""What is measured in a network: gradients and activations of known numbers, planted faults, and a
network left as it was."""

import json
import math

import pytest
import torch
from torch import nn

from ptycho_torch.config.evaluation import DiagnosticsSettings
from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.plan import UntrainedNetwork
from ptycho_torch.data.training import data_of_splits
from ptycho_torch.diagnose.networks import probe_block
from ptycho_torch.diagnose.probes import (
    dc_share,
    layer_statistics,
    low_freq_ratio,
    monitor_activations,
    probe_gradients,
)
from ptycho_torch.diagnose.subject import read_sample, untrained_subject
from ptycho_torch.networks import build_generator
from ptycho_torch.networks.layers import FourierBlock, StableFourierBlock
from ptycho_torch.simulate.dataset import SPLITS, simulate_dataset
from ptycho_torch.train.module import PtychoModule

SETTINGS = DiagnosticsSettings()


class Doubling(FourierBlock):
    """A block whose output is twice its input: a planted drift."""

    def _update(self, x_BCHW):
        return x_BCHW


def make_block(kind=FourierBlock, channels=3, modes=3, side=8, seed=0):
    torch.manual_seed(seed)
    stream = torch.Generator().manual_seed(seed)
    return kind(channels, modes, size_px=(side, side), two_sided=False, generator=stream)


def noise(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def build(name, **changes):
    settings = GeneratorSettings(name=name, width=4, fno_blocks=3, modes=4, **changes)
    return build_generator(settings, channels=1, patch_px=16, seed=0)


def test_a_planted_drift_doubles_the_mean_per_block_and_is_found():
    blocks = nn.Sequential(*(make_block(Doubling, seed=n) for n in range(3)))
    report = monitor_activations(blocks, noise(4, 3, 8, 8), SETTINGS)
    assert report["growth_per_block"] == pytest.approx(2)
    assert [row["growth"] for row in report["blocks"]] == pytest.approx([2, 2, 2])


def test_the_statistics_of_a_layer_are_those_of_the_modulus():
    x = torch.arange(100.0).view(1, 1, 10, 10) - 50
    found = layer_statistics(x)
    modulus = x.abs().flatten()
    assert found["mean"] == pytest.approx(25)
    assert found["std"] == pytest.approx(float(modulus.std(correction=0)))
    for key, level in (("median", 0.5), ("p95", 0.95), ("p99", 0.99)):
        assert found[key] == pytest.approx(float(modulus.quantile(level)))
    assert layer_statistics(3j * torch.ones(1, 1, 4, 4))["mean"] == pytest.approx(3)


def test_dc_share_of_known_frames():
    """1 for a constant, 0 without a mean, 1/2 for one of mean and deviation 1, also if complex."""
    checks = (torch.arange(64).view(8, 8) + torch.arange(8)[:, None]) % 2 * 2.0 - 1
    frames = checks.expand(2, 3, 8, 8)
    # Means of opposite sign in two channels are means all the same.
    opposite = torch.tensor([1.0, -1.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    cases = ((opposite, 1), (frames, 0), (1 + frames, 0.5), (1j * (1 + frames), 0.5))
    for frame, share in cases:
        assert dc_share(frame) == pytest.approx(share)
    assert dc_share(torch.zeros(1, 1, 4, 4)) is None


def test_low_freq_ratio_is_that_of_the_nine_lowest_frequencies():
    x = noise(2, 3, 8, 12)
    spectrum = torch.fft.fft2(x).abs().square().sum(dim=(0, 1))
    low = spectrum[[0, 1, -1]][:, [0, 1, -1]].sum() / spectrum.sum()
    assert low_freq_ratio(x) == pytest.approx(float(low), rel=1e-5)
    angle = 2 * math.pi * torch.arange(8) / 8
    for cycles, share in ((1, 1.0), (2, 0.0)):
        wave = (cycles * angle + 0.3).cos().expand(1, 1, 8, 8)
        assert low_freq_ratio(wave) == pytest.approx(share, abs=1e-6)


def test_planted_faults_are_flagged_where_they_are():
    """A bright pixel, a large mean, and a spectral path that says next to nothing."""
    bright = noise(2, 3, 8, 8)
    bright[..., :2, :2] *= 100
    block = make_block()
    with torch.no_grad():
        block.spectral.weight.mul_(1e-3)
    found = monitor_activations(block, bright, SETTINGS)
    assert found["layers"][0]["layer"] == "input"
    assert found["layers"][0]["flags"] == ["p99_over_p50"]
    assert found["blocks"][0]["flags"] == ["spectral_local_ratio"]
    assert found["summary"]["flagged"][0] == "input" and "network" in found["summary"]["flagged"]
    assert found["blocks"][0]["spectral_local_ratio"] < 0.1
    lifted = monitor_activations(make_block(), 3 + 0.1 * noise(2, 3, 8, 8), SETTINGS)
    assert lifted["layers"][0]["flags"] == ["dc_share"] and lifted["dc_share"] > 0.9
    clean = monitor_activations(make_block(), noise(2, 3, 8, 8), SETTINGS)
    assert clean["blocks"][0]["flags"] == clean["layers"][0]["flags"] == []


def test_an_untrained_stable_network_is_seen_to_change_nothing():
    """So its mean cannot drift before training; the input is seen after its transform."""
    network, x = build("stable_hybrid", input_transform="sqrt"), noise(2, 1, 16, 16).abs()
    stable = monitor_activations(network, x, SETTINGS)
    assert {row["update_mean"] for row in stable["blocks"]} == {0.0}
    assert stable["growth_per_block"] == 1
    assert stable["layers"][0]["mean"] == pytest.approx(float(x.sqrt().mean()))


def test_numbers_that_are_not_finite_are_null():
    block = make_block()
    with torch.no_grad():
        block.local.weight.fill_(1e38)
    report = monitor_activations(block, 1e3 * noise(2, 3, 8, 8), SETTINGS)
    assert report["blocks"][0]["output_mean"] is None and report["growth_per_block"] is None
    json.dumps(report, allow_nan=False)


def test_watching_changes_no_result_and_leaves_no_hook():
    network, x = build("hybrid"), noise(2, 1, 16, 16)
    before, seen = network(x), []
    handle = network.lift.register_forward_hook(lambda *_: seen.append(1))
    report = monitor_activations(network, x, SETTINGS)
    handle.remove()
    assert seen == [1]  # Another's hook stays and works.
    assert report["layers"][-1]["layer"] == "output"
    with pytest.raises(RuntimeError):
        monitor_activations(network, noise(2, 9, 16, 16), SETTINGS)
    assert torch.equal(network(x), before)
    assert not any(m._forward_hooks for m in network.modules())
    assert all(p.grad is None for p in network.parameters())


def test_a_case_worked_out_by_hand():
    """Constant frames of 4x4 ones, one channel, one mode, loss = sum of both paths.

    The spectral path puts out Re(w) everywhere, so dL/dw = 16. A tap of the local path sums the
    ones that it sees: 16 in the middle, 12 at an edge, 9 at a corner; their mean is 100/9.
    """
    block = make_block(channels=1, modes=1, side=4)
    x = torch.ones(1, 1, 4, 4)

    def loss():
        return (block.spectral(x) + block.local(x)).sum()

    report = probe_gradients(block, loss, min_ratio=0.1)
    assert report["spectral_grad_mean"] == pytest.approx(16)
    assert report["local_grad_mean"] == pytest.approx(100 / 9)
    assert report["spectral_local_ratio"] == pytest.approx(1.44)
    assert report["flagged"] is False
    (row,) = report["blocks"]
    assert row["spectral_weights"]["count"] == 1 and row["local_weights"]["count"] == 9
    weight = torch.complex(*block.spectral.weight.unbind(3)).abs().item()
    assert row["spectral_weights"]["rms"] == pytest.approx(weight)


def test_a_planted_small_spectral_gradient_is_flagged_in_its_block_alone():
    blocks = nn.Sequential(make_block(), make_block(seed=1))
    x, target = noise(4, 3, 8, 8), noise(4, 3, 8, 8, seed=2)

    def loss(share):
        first, second = blocks
        output = share * first.spectral(x) + first.local(x) + 9 * second.spectral(x)
        return ((output + second.local(x)) * target).sum()

    plain = probe_gradients(blocks, lambda: loss(1.0), min_ratio=0.1)
    small = probe_gradients(blocks, lambda: loss(1e-3), min_ratio=0.1)
    before, after = (r["blocks"][0]["spectral_local_ratio"] for r in (plain, small))
    assert after == pytest.approx(1e-3 * before)
    assert [row["flagged"] for row in small["blocks"]] == [True, False]


def test_the_probe_leaves_network_and_gradients_as_they_were():
    block, x = make_block(), noise(4, 3, 8, 8)
    block(x).sum().backward()
    weights = {k: v.clone() for k, v in block.state_dict().items()}
    held = {k: p.grad.clone() for k, p in block.named_parameters()}
    with torch.no_grad():  # A caller's mode is not in the way.
        probe_gradients(block, lambda: block(x).square().sum(), min_ratio=0.1)
    assert all(torch.equal(v, weights[k]) for k, v in block.state_dict().items())
    assert all(torch.equal(p.grad, held[k]) for k, p in block.named_parameters())


def test_both_initial_distributions_stand_side_by_side():
    sides = probe_block("hybrid", channels=8, modes=4, patch_px=16, seed=3, settings=SETTINGS)
    now, before = (sides["initialisations"][name] for name in ("1/in", "1/(in*out)"))
    rms = [side["blocks"][0]["spectral_weights"]["rms"] for side in (now, before)]
    assert rms == pytest.approx([8**-0.5, (2 / 3) ** 0.5 / 64], rel=0.05)
    # What it changes is what the spectral path puts out, not the gradients' ratio.
    assert now["spectral_local_output_ratio"] > 10 * before["spectral_local_output_ratio"]
    assert now["spectral_local_ratio"] == pytest.approx(before["spectral_local_ratio"], rel=0.2)


@pytest.mark.parametrize(
    ("network", "loss", "reason"),
    [
        (make_block(StableFourierBlock), lambda y: y.abs().mean(), "norm or scale is zero"),
        (make_block(), lambda y: y.sum() * torch.inf, "not finite"),
        (nn.Conv2d(3, 1, 3), lambda y: y.sum(), "no Fourier block"),
    ],
)
def test_a_ratio_that_is_not_defined_has_its_reason(network, loss, reason):
    report = probe_gradients(network, lambda: loss(network(noise(4, 3, 8, 8))), min_ratio=0.1)
    assert report["spectral_local_ratio"] is None and report["flagged"] is None
    assert reason in report["undefined"]


@pytest.mark.parametrize(
    ("gridsize", "merged", "loss", "scaling"),
    [(1, True, "poisson", "statistical"), (2, True, "mae", "none"), (2, False, "mae", "none")],
)
def test_the_loss_is_trainings(tiny_study, run_of, tmp_path, gridsize, merged, loss, scaling):
    made = tiny_study.datasets["tiny"]
    made = made.model_copy(update={"scan": made.scan.model_copy(update={"gridsize": gridsize})})
    files, record = {s: tmp_path / f"{s}.npz" for s in SPLITS}, tmp_path / "dataset.json"
    simulate_dataset(made, name="tiny", splits=files, summary=record)
    training = {"object_big": merged, "loss": loss, "input_scaling": scaling}
    run = run_of(seed=3, training=training)
    module = PtychoModule(run, data_of_splits(files, record, patch_px=16))
    sample = read_sample(files["train"], patch_px=16, groups=8)
    untrained = UntrainedNetwork(generator=run.generator, **training)
    subject = untrained_subject(untrained, 3, sample)
    assert torch.equal(subject.training_loss(), module.training_loss(sample.batch))
