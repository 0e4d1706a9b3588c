"""What people publish names files, and not the folders, the user or the machine they lay on; a name
in a study leads out of no folder."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from ptycho_torch.cli import app
from ptycho_torch.config.read import parse_study
from ptycho_torch.runtime.errors import InputError, shown_path
from ptycho_torch.simulate.dataset import SPLITS, simulate_dataset


def clean(folder, *words):
    """No file below a folder holds a word."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert not any(word.encode() in path.read_bytes() for word in words), path


def test_a_dataset_names_its_probes_file_alone(tmp_path, tiny, made):
    private = tmp_path / "home-of-x81"
    private.mkdir()
    np.savez(private / "probe.npz", probeGuess=made.a_probe()[0])
    path = str(private / "probe.npz")
    tiny["datasets"]["tiny"]["probe"] = {"shape": "file", "path": path}
    settings = parse_study(tiny, "study").datasets["tiny"]
    assert settings.model_dump(mode="json")["probe"]["path"] == path  # jobs need the whole path
    out = tmp_path / "out"
    splits = {split: out / f"{split}.npz" for split in SPLITS}
    simulate_dataset(settings, name="tiny", splits=splits, summary=out / "dataset.json")
    clean(out, "home-of-x81")


def test_commands_name_what_they_read_without_its_folder(tmp_path, made):
    private = tmp_path / "home-of-x81"
    private.mkdir()
    scan = made.a_scan(size=(28, 30))
    rows, columns = scan.positions_n2.T
    source, out = private / "scan.npz", tmp_path / "out"
    np.savez(
        source, diffraction=scan.amplitude_nHW, xcoords=columns + 8, ycoords=rows + 8,
        probeGuess=scan.probe_MHW[0], objectGuess=scan.object_YX,
    )  # fmt: skip
    for words in (
        ("reconstruct", source, "--output-dir", out / "rpie", "--passes", "1"),
        ("train", "--train-data", source, "--output-dir", out / "train", "--max-epochs", "1",
         "--width", "2", "--blocks", "1", "--modes", "2", "--batch-size", "4",
         "--validation-fraction", "0.3", "--gap-px", "0", "--generator", "fno"),
        ("infer", "--model", out / "train" / "bundle", "--test-data", source, "--output-dir",
         out / "infer", "--debug-dump", out / "dump"),
        ("convert", source, out / "scan.cxi"),
    ):  # fmt: skip
        done = CliRunner().invoke(app, list(map(str, words)))
        assert done.exit_code == 0, (words, done.output, done.exception)
    clean(out, "home-of-x81", str(tmp_path))
    assert json.loads((out / "rpie" / "report.json").read_text())["source"] == "scan.npz"


@pytest.mark.parametrize("name", ["..", "../up", "/etc/x", "a/b", "a\x00b", "", "a b", "{seed}"])
@pytest.mark.parametrize("block", ["datasets", "arms", "sweeps"])
def test_a_name_that_becomes_a_folder_is_letters_digits_and_little_else(tiny, block, name):
    tiny[block][name] = next(iter(tiny[block].values()))
    with pytest.raises(InputError) as caught:
        parse_study(tiny, "study.yaml")
    assert all(map(str.isprintable, str(caught.value).split("\n  ")))


def test_results_name_a_path_outside_the_folder_without_its_folders():
    assert shown_path("data/probe.npz") == "data/probe.npz"
    for path in ("/home/x/probe.npz", "../../x/probe.npz", "~/probe.npz", "a/../../x/probe.npz"):
        assert shown_path(path) == "probe.npz"
