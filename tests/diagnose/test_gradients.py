"""The gradient probe: what it counts, what it flags, and that it leaves no trace."""

import math

import pytest
import torch
from tests.diagnose.planted_networks import make_block, noise
from torch import nn

from ptycho_torch.config.plan import UntrainedNetwork
from ptycho_torch.data.training import data_of_splits
from ptycho_torch.diagnose.gradients import probe_gradients
from ptycho_torch.diagnose.networks import probe_block
from ptycho_torch.diagnose.subject import read_sample, untrained_subject
from ptycho_torch.networks.blocks import (
    StableFourierBlock,
    fourier_blocks,
    gradient_moduli,
    mean_moduli,
)
from ptycho_torch.simulate.dataset import SPLITS, simulate_dataset
from ptycho_torch.train.module import PtychoModule


def test_a_mean_is_over_complex_weights_of_all_blocks():
    """Pair (3, 4) has modulus 5; a block of three weights counts three times as much as one."""
    one, three = torch.zeros(1, 1, 1, 2, 1), torch.zeros(1, 1, 3, 2, 1)
    one[..., :, 0] = torch.tensor([12.0, 16.0])
    local = torch.ones(1, 1, 3, 3)
    assert mean_moduli([(one, -local), (three, 3 * local)]).tolist() == [5.0, 2.0]


def test_a_case_worked_out_by_hand():
    """Constant frames of 4x4 ones, one channel, one mode, loss = sum of both paths.

    The spectral path puts out Re(w) everywhere, so dL/dw = 16. A tap of the local path sums the
    ones that it sees: 16 in the middle, 12 at an edge, 9 at a corner; their mean is 100/9.
    """
    block = make_block(channels=1, modes=1, side=4)
    x = torch.ones(1, 1, 4, 4)
    report = probe_gradients(
        block, lambda: (block.spectral(x) + block.local(x)).sum(), min_ratio=0.1
    )
    assert report["spectral_grad_mean"] == pytest.approx(16)
    assert report["local_grad_mean"] == pytest.approx(100 / 9)
    assert report["spectral_local_ratio"] == pytest.approx(1.44)
    assert report["flagged"] is False
    (row,) = report["blocks"]
    assert row["spectral_weights"]["count"] == 1 and row["local_weights"]["count"] == 9
    assert row["spectral_weights"]["rms"] == pytest.approx(
        block.spectral.complex_weight().abs().item()
    )


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
    assert small["flagged_blocks"] == ["0"]


def test_the_probe_leaves_network_and_gradients_as_they_were():
    block, x = make_block(), noise(4, 3, 8, 8)
    block(x).sum().backward()
    weights = {k: v.clone() for k, v in block.state_dict().items()}
    held = {k: p.grad.clone() for k, p in block.named_parameters()}
    with torch.no_grad():  # A caller's mode is not in the way.
        probe_gradients(block, lambda: block(x).square().sum(), min_ratio=0.1)
    assert all(torch.equal(v, weights[k]) for k, v in block.state_dict().items())
    assert all(torch.equal(p.grad, held[k]) for k, p in block.named_parameters())


def test_for_white_noise_the_ratio_is_about_two_over_the_side():
    """By the transform's normalisation alone, with a gradient that is independent of the input.

    B sums of white noise: a mode's gradient has the modulus c sqrt(pi B) / 2, c = 1 in column 0
    and 2 in the others, which stand for two; a tap's sqrt(2 B / pi) N.
    """
    side = 32
    block = make_block(channels=8, modes=4, side=side)
    x, target = noise(8, 8, side, side), noise(8, 8, side, side, seed=2)

    def loss():
        return ((block.spectral(x) + block.local(x)) * target).sum()

    report = probe_gradients(block, loss, min_ratio=0.1)
    expected = (1 + 3 * 2) / 4 * (math.pi**0.5 / 2) / ((2 / math.pi) ** 0.5 * side)
    assert report["spectral_local_ratio"] == pytest.approx(expected, rel=0.1)


def test_both_initial_distributions_stand_side_by_side(settings):
    sides = probe_block("hybrid", channels=8, modes=4, patch_px=16, seed=3, settings=settings)
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
def test_loss_and_ratio_are_those_of_trainings_first_step(
    tiny_study, run_of, tmp_path, gridsize, merged, loss, scaling
):
    made = tiny_study.datasets["tiny"]
    scan = made.scan.model_copy(update={"gridsize": gridsize})
    files = {split: tmp_path / f"{split}.npz" for split in SPLITS}
    record = tmp_path / "dataset.json"
    simulate_dataset(
        made.model_copy(update={"scan": scan}), name="tiny", splits=files, summary=record
    )
    training = {"object_big": merged, "loss": loss, "input_scaling": scaling}
    run = run_of(seed=3, training=training)
    module = PtychoModule(run, data_of_splits(files, record, patch_px=16))
    sample = read_sample(files["train"], patch_px=16, groups=8)
    untrained = UntrainedNetwork(generator=run.generator, **training)
    subject = untrained_subject(untrained, 3, sample)
    expected = module.training_loss(sample.batch)
    assert torch.equal(subject.training_loss(), expected)
    expected.backward()
    report = probe_gradients(subject.network, subject.training_loss, min_ratio=0.1)
    spectral, local = gradient_moduli(fourier_blocks(module.network).values()).tolist()
    assert report["spectral_local_ratio"] == pytest.approx(spectral / local, rel=1e-5)
