"""The gradient probe: what it counts, what it flags, and that it leaves no trace."""

import math

import pytest
import torch
from planted_networks import make_block, noise
from torch import nn

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.plan import UntrainedNetwork
from ptycho_torch.diagnose.gradients import probe_gradients
from ptycho_torch.diagnose.initialisation import probe_block
from ptycho_torch.diagnose.subject import fresh_subject, read_sample
from ptycho_torch.networks.blocks import StableFourierBlock
from ptycho_torch.networks.probing import fourier_blocks, gradient_moduli, mean_moduli


def test_a_spectral_gradient_is_a_complex_number():
    """Pair (3, 4) has modulus 5; a mean over stored real numbers would say 3.5."""
    pair = torch.tensor([3.0, 4.0]).view(1, 1, 1, 2, 1)
    assert mean_moduli([(pair, torch.full((1, 1, 3, 3), -2.0))]) == (5.0, 2.0)


def test_means_are_over_weights_not_over_blocks():
    """A block of three spectral weights counts three times as much as one of one."""
    one, three = torch.zeros(1, 1, 1, 2, 1), torch.zeros(1, 1, 3, 2, 1)
    one[..., 0, :] = 4.0
    local = torch.ones(1, 1, 3, 3)
    assert mean_moduli([(one, local), (three, 3 * local)]) == (1.0, 2.0)


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
        first = sum(
            factor * (path(x) * target).sum()
            for factor, path in ((share, blocks[0].spectral), (1.0, blocks[0].local))
        )
        return (
            first + 9 * (blocks[1].spectral(x) * target).sum() + (blocks[1].local(x) * target).sum()
        )

    plain = probe_gradients(blocks, lambda: loss(1.0), min_ratio=0.1)
    small = probe_gradients(blocks, lambda: loss(1e-3), min_ratio=0.1)
    before, after = (r["blocks"][0]["spectral_local_ratio"] for r in (plain, small))
    assert after == pytest.approx(1e-3 * before)
    assert small["flagged_blocks"] == ["0"]
    assert [row["flagged"] for row in small["blocks"]] == [True, False]


def test_the_threshold_is_the_configured_one():
    block, x = make_block(), noise(4, 3, 8, 8)
    low, high = (
        probe_gradients(block, lambda: block(x).abs().mean(), min_ratio=limit)["flagged"]
        for limit in (1e-6, 0.999)
    )
    assert (low, high) == (False, True)


def test_the_probe_leaves_network_and_gradients_as_they_were():
    block, x = make_block(), noise(4, 3, 8, 8)
    block(x).sum().backward()
    weights = {k: v.clone() for k, v in block.state_dict().items()}
    held = {k: p.grad.clone() for k, p in block.named_parameters()}
    with torch.no_grad():  # A caller's mode is not in the way.
        probe_gradients(block, lambda: block(x).square().sum(), min_ratio=0.1)
    assert all(torch.equal(v, weights[k]) for k, v in block.state_dict().items())
    assert all(torch.equal(p.grad, held[k]) for k, p in block.named_parameters())


def test_a_block_that_passes_no_gradient_has_no_ratio():
    block, x = make_block(StableFourierBlock), noise(4, 3, 8, 8)
    report = probe_gradients(block, lambda: block(x).abs().mean(), min_ratio=0.1)
    assert report["spectral_grad_mean"] == report["local_grad_mean"] == 0
    assert report["spectral_local_ratio"] is None and report["flagged"] is None
    assert "norm or scale is zero" in report["undefined"]


def test_gradients_that_are_not_finite_are_said_not_written():
    block, x = make_block(), noise(4, 3, 8, 8)
    report = probe_gradients(block, lambda: block(x).sum() * torch.inf, min_ratio=0.1)
    assert report["spectral_local_ratio"] is None and "not finite" in report["undefined"]


def test_a_network_without_fourier_blocks_says_so():
    report = probe_gradients(nn.Conv2d(1, 1, 3), lambda: torch.zeros(()), min_ratio=0.1)
    assert report["blocks"] == [] and "no Fourier block" in report["undefined"]


@pytest.mark.parametrize("side", [16, 32])
def test_for_white_noise_the_ratio_is_about_two_over_the_side(side):
    """By the transform's normalisation alone, with a gradient that is independent of the input.

    B sums of white noise: a mode's gradient has the modulus c sqrt(pi B) / 2, c = 1 in column 0
    and 2 in the others, which stand for two; a tap's sqrt(2 B / pi) N.
    """
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
    assert now["spectral_weights"]["rms"] == pytest.approx(8**-0.5, rel=0.05)
    assert before["spectral_weights"]["rms"] == pytest.approx((2 / 3) ** 0.5 / 64, rel=0.05)
    # What it changes is what the spectral path puts out, not the gradients' ratio.
    assert now["spectral_local_output_ratio"] > 10 * before["spectral_local_output_ratio"]
    assert now["spectral_local_ratio"] == pytest.approx(before["spectral_local_ratio"], rel=0.2)


def test_the_loss_and_the_ratio_are_those_of_training(tiny, tiny_study, tiny_dataset, sample):
    """Fresh network of seed 3, both losses: what the run of seed 3 has in its first step."""
    from ptycho_torch.data.dataset_file import read_split
    from ptycho_torch.train.fit import build_module

    splits = [read_split(tiny_dataset.splits[s], patch_px=16) for s in ("train", "validation")]
    for loss, scaling in (("mae", "none"), ("poisson", "statistical")):
        run = run_settings(tiny_study, "tiny", "control", 3)
        training = run.training.model_copy(update={"loss": loss, "input_scaling": scaling})
        module = build_module(run.model_copy(update={"training": training}), *splits)
        fresh = UntrainedNetwork(generator=run.generator, loss=loss, input_scaling=scaling)
        subject = fresh_subject(fresh, 3, sample)
        expected = module.training_loss(sample.batch)
        assert torch.equal(subject.training_loss(), expected)
        expected.backward()
        report = probe_gradients(subject.network, subject.training_loss, min_ratio=0.1)
        spectral, local = gradient_moduli(fourier_blocks(module.network).values()).tolist()
        assert report["spectral_local_ratio"] == pytest.approx(spectral / local, rel=1e-5)


def test_every_generator_is_probed(sample):
    for name in ("hybrid", "layerscale_hybrid", "fno"):
        settings = GeneratorSettings(name=name, width=4, fno_blocks=2, modes=4)
        fresh = UntrainedNetwork(generator=settings, loss="mae", input_scaling="none")
        subject = fresh_subject(fresh, 0, sample)
        report = probe_gradients(subject.network, subject.training_loss, min_ratio=0.1)
        assert report["spectral_local_ratio"] > 0
        assert len(report["blocks"]) == (2 if name == "fno" else 3)


@pytest.mark.parametrize("merged", [True, False])
def test_groups_of_four_are_seen_as_training_sees_them(tiny, tmp_path, merged):
    from ptycho_torch.config.read import parse_study
    from ptycho_torch.data.dataset_file import read_split
    from ptycho_torch.simulate.dataset import SPLITS, simulate_dataset
    from ptycho_torch.train.fit import build_module

    tiny["datasets"]["tiny"]["scan"]["gridsize"] = 2
    tiny["training"]["object_big"] = merged
    study = parse_study(tiny, "tiny.yaml")
    files = {split: tmp_path / f"{split}.npz" for split in SPLITS}
    simulate_dataset(study.datasets["tiny"], name="tiny", splits=files, summary=tmp_path / "d.json")
    splits = [read_split(files[split], patch_px=16) for split in ("train", "validation")]
    run = run_settings(study, "tiny", "control", 3)
    sample = read_sample(files["train"], patch_px=16, groups=8)
    fresh = UntrainedNetwork(
        generator=run.generator, loss="mae", input_scaling="none", object_big=merged
    )
    expected = build_module(run, *splits).training_loss(sample.batch)
    assert torch.equal(fresh_subject(fresh, 3, sample).training_loss(), expected)
