"""What stops a step: which convolutions are timed, how their work is counted and shared out."""

import pytest
import torch

from ptycho_torch.config.generator import GeneratorSettings

SMALL = GeneratorSettings(name="hybrid", width=4, fno_blocks=2, modes=4)


def test_every_convolution_of_the_network_is_timed_and_its_work_counted(bench):
    limits, steps = bench("limits"), bench("training_step")
    data = steps.make_data(16, 2)
    found = limits.layers(SMALL, data)
    # The lifting layer; the encoder's, the decoder's and the last's at full size; the bottleneck's.
    assert found == {(1, 4, 16): 1, (4, 4, 16): 3, (8, 4, 16): 1, (8, 8, 8): 2}
    for layer in found:
        convolution = torch.nn.Conv2d(layer[0], layer[1], 3, padding=1)
        image = torch.zeros(2, layer[0], layer[2], layer[2])
        assert limits.flops(layer, 2) == steps.count_flops(lambda c=convolution, i=image: c(i))


def test_the_three_passes_are_the_convolutions_own(bench):
    made = bench("limits").passes((3, 2, 8), batch=2)
    assert made["forward"]().shape == (2, 2, 8, 8)
    to_data, no_weights, no_bias = made["to the data"]()
    assert to_data.shape == (2, 3, 8, 8) and no_weights is None and no_bias is None
    no_data, to_weights, _ = made["to the weights"]()
    assert no_data is None and to_weights.shape == (2, 3, 3, 3)


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        ("aten::mkldnn_convolution", "convolutions"),
        ("aten::convolution_backward", "convolutions"),
        ("aten::bmm", "matrix products"),
        ("aten::_fft_r2c", "Fourier transforms"),
        ("aten::gelu_backward", "GELU"),
        ("aten::copy_", "copies and layout"),
        ("aten::add_", "sums and products by elements"),
        ("Optimizer.step#Adam.step", "all else"),
    ],
)
def test_operators_are_told_by_their_names(bench, operator, kind):
    assert bench("limits").kind_of(operator) == kind


def test_limits_are_measured_and_shared_by_time(bench):
    limits = bench("limits")
    found = limits.measure(rounds=1, settings=SMALL, side=16, batch=2)
    assert set(found["profile"]["step, ours"]) == {*limits.KINDS, "all else"}
    row = {"flops": 100, "times": 1, "seconds": {"forward": 1.0}}
    slow = {"flops": 100, "times": 3, "seconds": {"forward": 3.0}}
    told = {"convolutions": [row, slow], "product_flop_per_s": 100.0}
    assert limits.share(told, "forward") == pytest.approx(0.4)
    assert "| 1 to 4, 16 px | 1 |" in limits.tables(found)
