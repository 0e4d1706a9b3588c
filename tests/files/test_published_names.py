"""What people publish names files, and not the folders, the user or the machine they lay on; a name
in a study leads out of no folder."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.commands import call
from tests.scans import a_scan, canonical

from ptycho_torch.config.read import parse_study
from ptycho_torch.runtime.errors import InputError


def test_commands_name_what_they_read_without_its_folder(tmp_path):
    private = tmp_path / "home-of-x81"
    private.mkdir()
    source, out = private / "scan.npz", tmp_path / "out"
    np.savez(source, **canonical(a_scan(frames=(4, 4))))
    for words in (
        ("reconstruct", source, "--output-dir", out / "rpie", "--passes", "1"),
        ("train", "--train-data", source, "--output-dir", out / "train", "--max-epochs", "1",
         "--width", "2", "--blocks", "1", "--modes", "2", "--batch-size", "4",
         "--validation-fraction", "0.3", "--gap-px", "0", "--generator", "fno"),
        ("infer", "--model", out / "train" / "bundle", "--test-data", source, "--output-dir",
         out / "infer", "--debug-dump", out / "dump"),
        ("convert", source, out / "again.npz"),
    ):  # fmt: skip
        call(*words)
    for path in filter(Path.is_file, out.rglob("*")):
        assert not any(word.encode() in path.read_bytes() for word in (private.name, str(tmp_path)))
    assert json.loads((out / "rpie" / "report.json").read_text())["source"] == "scan.npz"


@pytest.mark.parametrize("name", ["..", "../up", "/etc/x", "a/b", "a\x00b", "", "a b", "{seed}"])
@pytest.mark.parametrize("block", ["datasets", "arms", "sweeps"])
def test_a_name_that_becomes_a_folder_is_letters_digits_and_little_else(tiny, block, name):
    tiny[block][name] = next(iter(tiny[block].values()))
    with pytest.raises(InputError) as caught:
        parse_study(tiny, "study.yaml")
    assert all(map(str.isprintable, str(caught.value).split("\n  ")))
