"""Splits that another program wrote: whatever its conventions, the dataset is the one of ours."""

import numpy as np
import pytest

from ptycho_torch.config.dataset import DatasetFiles
from ptycho_torch.data.training import data_of_splits
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.simulate.dataset import SPLITS
from ptycho_torch.simulate.files import import_dataset

N = 16


@pytest.fixture
def imported(tiny_dataset, tmp_path):
    """Write the tiny study's splits as `change` leaves them, and take them in."""

    def do(change=lambda arrays: None, **settings):
        for split in SPLITS:
            arrays = dict(np.load(tiny_dataset.splits[split]))
            change(arrays)
            np.savez(tmp_path / f"{split}.npz", **arrays)
        found = DatasetFiles(
            source="files", patch_px=N, test_step_px=4,
            **{split: str(tmp_path / f"{split}.npz") for split in SPLITS}, **settings,
        )  # fmt: skip
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        files = {split: out / f"{split}.npz" for split in SPLITS}
        import_dataset(found, name="taken", splits=files, summary=out / "dataset.json")
        return files, out / "dataset.json"

    return do


def drop(*keys):
    return lambda arrays: [arrays.pop(key, None) for key in keys]


def centres(arrays):
    arrays["coords_offsets"] = arrays["coords_offsets"] + N // 2


def other_scale(arrays):
    """The probe of a program that does not normalise, in frames of its own units."""
    arrays["probeGuess"] = arrays["probeGuess"] / 2.7234
    arrays["diffraction"] = arrays["diffraction"] / 2.7234
    arrays["intensity_scale"] = arrays["intensity_scale"] * 2.7234


def legacy(arrays):
    centres(arrays)
    drop("norm_Y_I", "image_index")(arrays)
    if "YY_ground_truth" in arrays:
        arrays["YY_ground_truth"] = arrays["YY_ground_truth"][0]


@pytest.mark.parametrize(
    ("change", "reading"),
    [
        (lambda arrays: None, {}),
        (legacy, {"origin": "centre"}),
        (other_scale, {}),
        (lambda a: a.update(coords_offsets=a["coords_offsets"][:, :, ::-1]), {"swap_axes": True}),
        (lambda a: a.update(diffraction=a["diffraction"] ** 2), {"values": "intensity"}),
        (
            lambda a: a.update(diffraction=np.fft.ifftshift(a["diffraction"], axes=(1, 2))),
            {"zero_frequency": "corner"},
        ),
    ],
)
def test_splits_in_other_conventions_become_ours(imported, tiny_dataset, tmp_path, change, reading):
    files, summary = imported(change, reading=reading)
    for split in SPLITS:
        source = io.read_json(summary)["splits"][split]["source_sha256"]
        assert source == io.sha256(tmp_path / f"{split}.npz")
        ours, found = (dict(np.load(f[split])) for f in (tiny_dataset.splits, files))
        for key in ("diffraction", "probeGuess", "coords_offsets", "intensity_scale", "norm_Y_I"):
            scale = np.abs(ours[key]).max()
            np.testing.assert_allclose(found[key], ours[key], atol=2e-3 * scale, err_msg=key)


@pytest.mark.parametrize("photons", [1e4, 1e9])
def test_photons_that_a_user_says_are_those_of_every_frame_and_called_given(imported, photons):
    files, summary = imported(drop("intensity_scale"), photons=photons)
    data = data_of_splits(files, summary, patch_px=N)
    assert data.intensity_scale_source == "given"
    scale = data.scales["train"].intensity_scale
    light = (scale * data.train.amplitude_BCHW).square().sum(dim=(-2, -1)).mean().item()
    assert light == pytest.approx(photons, rel=1e-4)
    assert data.scales["validation"].intensity_scale == scale
    assert io.read_json(summary)["intensity_scale"] == pytest.approx(scale)


def test_what_has_no_effect_on_splits_is_refused(imported):
    with pytest.raises(ValueError, match="reading.pixel_m has no effect on splits; they have"):
        imported(reading={"pixel_m": 1e-8})
    with pytest.raises(InputError, match="have corners from 8 to 48, the objects are"):
        imported(centres)
