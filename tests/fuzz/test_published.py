"""What people publish names files, and not the folders, the user or the machine they lay on."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from ptycho_torch.cli import app
from ptycho_torch.config.read import parse_study
from ptycho_torch.infer.parity.files import read_dump
from ptycho_torch.simulate.dataset import SPLITS, simulate_dataset


def clean(folder, *words):
    """No file below a folder holds a word."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        for word in words:
            assert word.encode() not in path.read_bytes(), path


@pytest.fixture
def private(tmp_path):
    folder = tmp_path / "home-of-x81"
    folder.mkdir()
    return folder


def test_a_dataset_names_its_probes_file_alone(tmp_path, private, tiny, made):
    np.savez(private / "probe.npz", probeGuess=made.a_probe()[0])
    path = str(private / "probe.npz")
    tiny["datasets"]["tiny"]["probe"] = {"shape": "file", "path": path}
    settings = parse_study(tiny, "study").datasets["tiny"]
    assert settings.model_dump(mode="json")["probe"]["path"] == path  # jobs need the whole path
    out = tmp_path / "out"
    out.mkdir()
    splits = {split: out / f"{split}.npz" for split in SPLITS}
    simulate_dataset(settings, name="tiny", splits=splits, summary=out / "dataset.json")
    clean(out, "home-of-x81")
    facts = json.loads((out / "dataset.json").read_text())
    assert facts["settings"]["probe"]["path"] == "probe.npz"


def test_a_study_of_files_names_them_alone(private, tiny):
    tiny["datasets"]["tiny"] = {
        "source": "files", "patch_px": 16, "test_step_px": 4,
        **{split: str(private / f"{split}.npz") for split in SPLITS},
    }  # fmt: skip
    study = parse_study(tiny, "study")
    assert "home-of-x81" in json.dumps(study.model_dump(mode="json"))
    assert "home-of-x81" not in json.dumps(study.published())
    assert study.published()["datasets"]["tiny"]["test"] == "test.npz"


def test_commands_name_what_they_read_without_its_folder(tmp_path, private, scan_named):
    source = scan_named(private, "scan.npz")
    out = tmp_path / "out"
    for words in (
        ("reconstruct", source, "--output-dir", out / "rpie", "--passes", "1"),
        ("train", "--train-data", source, "--test-data", source, "--output-dir", out / "train",
         "--max-epochs", "1", "--width", "2", "--blocks", "1", "--modes", "2", "--batch-size", "4",
         "--validation-fraction", "0.3", "--gap-px", "0", "--generator", "fno"),
        ("infer", "--model", out / "train" / "bundle", "--test-data", source, "--output-dir",
         out / "infer", "--debug-dump", out / "dump"),
        ("compare", out / "dump", out / "dump", "--output-dir", out / "compared"),
        ("convert", source, out / "scan.cxi"),
        ("convert", source, out / "scan.npz"),
    ):  # fmt: skip
        done = CliRunner().invoke(app, list(map(str, words)))
        assert done.exit_code == 0, (words, done.output, done.exception)
    clean(out, "home-of-x81", str(tmp_path))
    assert json.loads((out / "rpie" / "report.json").read_text())["source"] == "scan.npz"


def test_what_another_program_says_of_itself_is_text(tmp_path, monkeypatch):
    """Its words go into compare.md, which viewers show as HTML."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "arrays.npz", stitched=np.random.default_rng(0).random((16, 16)))
        facts = {
            "format": "ptycho-torch dump 1",
            "made_by": "x\n# y <script>window.owned=1</script>",
        }
        (tmp_path / name / "dump.json").write_text(json.dumps(facts))
    assert "\n" not in read_dump(tmp_path / "a").made_by
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["compare", "a", "b"])
    text = (tmp_path / "comparison" / "compare.md").read_text()
    assert done.exit_code == 0, done.output
    assert "<script" not in text and "\n# y" not in text and "&lt;script" in text
    assert json.loads((tmp_path / "comparison" / "compare.json").read_text())["a"]["folder"] == "a"
