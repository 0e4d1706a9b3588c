"""Training and inference of one bundle agree, and what happens where they do not."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from ptycho_torch.config.evaluation import ParitySettings
from ptycho_torch.config.scan import InferSettings
from ptycho_torch.files import io
from ptycho_torch.infer import dump as dumping
from ptycho_torch.infer import parity
from ptycho_torch.infer.dump import read_dump, write_dump
from ptycho_torch.infer.outputs import infer_split
from ptycho_torch.infer.parity import report_parity, require_parity
from ptycho_torch.networks.bundle import read_bundle, write_bundle
from ptycho_torch.runtime.errors import InputError


@pytest.fixture(scope="module")
def run(plain, tiny_dataset):
    """A trained run of the tiny study, what its bundle sees in the test split, and the patches
    that its training predicted there."""
    dump = infer_split(plain.folder / "bundle", tiny_dataset.splits["test"], InferSettings())
    best = io.read_npz(plain.outputs["patches"], "best")["best"]
    return SimpleNamespace(folder=plain.folder, dump=dump, best=best)


@pytest.fixture
def judge(run, tiny_dataset, tmp_path, monkeypatch):
    """Hold the run against an inference's dump; returns parity.json, with values by name."""

    def make(dump=None, *, drawn=False, best=run.best, test=None, **settings):
        for module in () if drawn else (parity, dumping):
            monkeypatch.setattr(module, "draw_objects", lambda *a, **k: None)
            monkeypatch.setattr(module, "save_png", lambda *a: None)
        write_dump(tmp_path / "inference", dump or run.dump)
        io.write_npz(tmp_path / "patches.npz", {"best": best})
        report_parity(
            run=run.folder / "run.json",
            dataset=tiny_dataset.dataset,
            test=test or tiny_dataset.splits["test"],
            patches=tmp_path / "patches.npz",
            inference=tmp_path / "inference",
            settings=ParitySettings(**settings).model_dump(mode="json"),
            folder=tmp_path / "parity",
        )
        found = io.read_json(tmp_path / "parity/parity.json")
        values = {q["name"]: q["value"] for q in found["quantities"]}
        return SimpleNamespace(**found, values=values)

    return make


def test_training_and_inference_agree_to_rounding(judge, tmp_path):
    found, folder = judge(drawn=True), tmp_path / "parity"
    assert found.passed and found.failed == []
    seen = found.values
    assert seen["patches_to_rounding"] < 1e-5 and seen["scales_to_rounding"] < 1e-6
    assert {p.name for p in folder.iterdir()} == {
        "parity.json", "parity.md", "parity.png", "training",
    }  # fmt: skip
    assert read_dump(folder / "training").patches_PHW.shape == (121, 16, 16)
    require_parity(folder / "parity.json", tmp_path / "passed.txt")
    assert "passed" in (tmp_path / "passed.txt").read_text()


def test_a_failed_parity_keeps_its_report_and_cannot_be_taken_for_passed(judge, run, tmp_path):
    """As of a run that diverged."""
    found = judge(best=run.best * np.nan)
    assert {"amplitude_ssim", "stitched_rms", "patches_to_rounding"} <= set(found.failed)
    assert (tmp_path / "parity/parity.md").read_text().startswith("# Parity FAILED in ")
    with pytest.raises(InputError, match=r"parity FAILED in .*stitched_rms.*parity\.md has the"):
        require_parity(tmp_path / "parity/parity.json", tmp_path / "passed.txt")
    assert not (tmp_path / "passed.txt").exists()


def test_each_fault_fails_by_its_name(judge, run, tiny_dataset, tmp_path):
    """Patches that agree to ten percent and not to rounding, and a bundle of another scale."""
    near = replace(run.dump, patches_PHW=1.01 * run.dump.patches_PHW)
    assert judge(near).failed == ["patches_to_rounding"] and judge(near, rounding=0.02).passed
    bundle = read_bundle(run.folder / "bundle")
    settings = bundle.settings.model_copy(update={"input_scale": 1.3})
    write_bundle(tmp_path / "bundle", replace(bundle, settings=settings))
    dump = infer_split(tmp_path / "bundle", tiny_dataset.splits["test"], InferSettings())
    scales = {"input_scale", "scales_to_rounding", "patches_to_rounding"}
    assert scales <= set(judge(dump).failed)


def test_the_first_image_of_the_test_split_is_held_against_the_first(
    judge, run, tiny_dataset, tmp_path
):
    arrays, test = io.read_npz(tiny_dataset.splits["test"]), tmp_path / "two.npz"
    twice = {k: np.concatenate([v, v[::-1]]) if v.ndim else v for k, v in arrays.items()}
    twice |= {key: arrays[key] for key in ("probeGuess", "probe_simulated")}
    twice["image_index"] = np.repeat([0, 1], len(arrays["diffraction"])).astype(np.int32)
    io.write_npz(test, twice)
    dump = infer_split(run.folder / "bundle", test, InferSettings())
    assert judge(dump, best=np.concatenate([run.best, run.best[::-1]]), test=test).passed
