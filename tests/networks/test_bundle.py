"""A bundle comes back as it was written, and every part that is wrong is refused by its name."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.samples import untrained_bundle

from ptycho_torch.files import io
from ptycho_torch.networks.bundle import read_bundle, write_bundle
from ptycho_torch.runtime.errors import InputError

KEY, PROBE = "network.head.weight", "probe_MHW2"


@pytest.fixture
def folder(tmp_path):
    write_bundle(tmp_path / "bundle", untrained_bundle())
    return tmp_path / "bundle"


def refused(folder):
    with pytest.raises(InputError) as error:
        read_bundle(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)
    return str(error.value)


def test_a_bundle_comes_back_to_the_bit(tmp_path):
    probe = torch.randn(2, 16, 16, dtype=torch.complex64)
    made = untrained_bundle(probe, intensity_scale_source="learned", gridsize=2)
    write_bundle(tmp_path, made)
    found = read_bundle(tmp_path)
    assert found.settings == made.settings and found.record == {"seed": 1}
    assert torch.equal(found.probe_MHW, made.probe_MHW)
    frames = torch.rand(2, 4, 16, 16)
    assert torch.equal(found.network()(frames), made.network()(frames))


@pytest.mark.parametrize("name", ["weights.safetensors", "bundle.json"])
def test_a_missing_file_is_refused(folder, name):
    """One that was cut: tests/files."""
    (folder / name).unlink()
    assert name in refused(folder)
    assert "bundle.json" in refused(folder / "nowhere")


def test_weights_of_another_bundle_are_refused(folder, tmp_path):
    write_bundle(tmp_path / "other", untrained_bundle(torch.eye(16)[None]))
    (tmp_path / "other/weights.safetensors").replace(folder / "weights.safetensors")
    assert "belongs to other files" in refused(folder)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda t, f: t.pop(KEY), 'Missing key(s) in state_dict: "head.weight"'),
        (
            lambda t, f: t.update({"network.more": t[KEY] + 1}),
            'Unexpected key(s) in state_dict: "mo',
        ),
        (lambda t, f: t.update({KEY: t[KEY][:1].clone()}), "size mismatch for head.weight"),
        (lambda t, f: t.update({KEY: t[KEY] * float("nan")}), "'head.weight' holds NaN"),
        (lambda t, f: t.pop(PROBE), "has no tensor 'probe_MHW2'"),
        (lambda t, f: t.update({PROBE: torch.zeros(1, 8, 8, 2)}), "'probe_MHW2' is (1, 8, 8, 2)"),
        (lambda t, f: t.update({PROBE: t[PROBE] * 0}), "not zero everywhere"),
        (lambda t, f: f.update(format="ptycho-torch bundle 1"), "another version"),
        (lambda t, f: f["settings"].pop("intensity_scale"), "intensity_scale"),
        (lambda t, f: f["settings"].update(channels=4), "size mismatch"),
        (lambda t, f: f["settings"]["generator"].update(modes=99), "modes of 99 are more"),
        (lambda t, f: f["settings"]["generator"].update(name="fno"), "is not the 'fno' of bun"),
    ],
)
def test_wrong_tensors_and_facts_are_refused_and_no_default_steps_in(folder, wrong, said):
    """The checksum of the weights follows them."""
    weights, known = load_file(folder / "weights.safetensors"), folder / "bundle.json"
    facts = json.loads(known.read_text())
    wrong(weights, facts)
    save_file(weights, folder / "weights.safetensors")
    facts["weights_sha256"] = io.sha256(folder / "weights.safetensors")
    known.write_text(json.dumps(facts))
    assert said in refused(folder)
