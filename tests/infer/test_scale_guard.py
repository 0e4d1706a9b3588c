"""A scale that was asked for reaches the network, or nothing comes out."""

import numpy as np
import pytest
import torch

from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.scan import InferSettings
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.scales import ScaleLost
from ptycho_torch.infer import run as inference
from ptycho_torch.infer.dump import inference_dump
from ptycho_torch.networks import build_generator
from ptycho_torch.networks.bundle import Bundle, BundleSettings


@pytest.fixture
def bundle():
    generator = GeneratorSettings(name="hybrid", width=4, fno_blocks=2, modes=4)
    settings = BundleSettings(
        generator=generator, patch_px=16, channels=1, gridsize=1, object_big=True, input_scale=1.0,
        norm_Y_I=2.0, intensity_scale=1000.0, intensity_scale_source="learned",
        mean_amplitude=0.1, dataset="made",
    )  # fmt: skip
    network = build_generator(generator, channels=1, patch_px=16, seed=0)
    return Bundle(
        settings=settings,
        weights=network.state_dict(),
        probe_MHW=torch.ones(1, 16, 16, dtype=torch.complex64),
    )


@pytest.fixture
def scan(tiny_dataset):
    return read_scan(tiny_dataset.splits["test"])


@pytest.mark.parametrize("scale", ["stored", "measured", 250.0])
def test_the_scale_in_force_is_the_one_that_was_asked_for(bundle, scan, scale):
    found = inference.infer_scan(bundle, scan, InferSettings(scale=scale, accelerator="cpu"))
    dump = inference_dump(bundle, scan, found)
    if scale == "measured":
        assert dump.scales.intensity_scale == pytest.approx(found.unit * scan.intensity_scale)
    else:
        assert dump.scales.intensity_scale == pytest.approx(1000.0)
    if scale == 250.0:
        assert found.unit == pytest.approx(4.0)
    assert dump.scales.intensity_scale_source == "learned"


def test_an_override_that_is_lost_on_its_way_to_the_data_is_no_result(bundle, scan, monkeypatch):
    plain = inference.groups_of_scan
    monkeypatch.setattr(inference, "groups_of_scan", lambda s, m, unit: plain(s, m, 1.0))
    with pytest.raises(ScaleLost, match="of 4 was asked for, but the data were divided by 1:"):
        inference.infer_scan(bundle, scan, InferSettings(scale=250.0, accelerator="cpu"))


def test_an_override_that_the_units_ignore_is_no_result(bundle, scan, monkeypatch):
    monkeypatch.setattr(inference, "unit_in_use", lambda *a: (1.0, "as stored"))
    with pytest.raises(ScaleLost, match="of 4 was asked for"):
        inference.infer_scan(bundle, scan, InferSettings(scale=250.0, accelerator="cpu"))


def test_masked_pixels_do_not_look_like_a_lost_scale(bundle, scan):
    good = np.ones((1, 16, 16), bool)
    good[0, 6:10, 6:10] = False
    masked = type(scan)(**{
        **{f: getattr(scan, f) for f in scan.__dataclass_fields__}, "good_1HW": good,
    })  # fmt: skip
    inference.infer_scan(bundle, masked, InferSettings(scale=250.0, accelerator="cpu"))
