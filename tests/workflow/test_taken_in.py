"""Datasets of files that another program wrote: their content decides what is made again."""

import os
import re
import shutil

from ptycho_torch.simulate.dataset import SPLITS


def test_a_source_file_that_an_older_one_replaces_is_planned_again(
    snakemake, config_file, tiny_dataset, tmp_path
):
    """As `cp -p` and `rsync -a` leave it: older than the results, and of the same size."""
    sources = {split: tmp_path / f"{split}.npz" for split in SPLITS}
    for split, path in sources.items():
        shutil.copy(tiny_dataset.splits[split], path)

    def change(data):
        (name,) = data["datasets"]
        data["datasets"][name] = {
            "source": "files", "patch_px": 16, "test_step_px": 4,
            **{split: str(path) for split, path in sources.items()},
        }  # fmt: skip

    words = ("--cores", "1", "--configfile", config_file(change))
    made = snakemake("results/simulate/tiny/dataset.json", *words)
    assert made.returncode == 0, made.stderr
    again = ("results/simulate/tiny/dataset.json", "-n", *words)
    assert "Nothing to be done" in snakemake(*again).stdout

    content = bytearray(sources["validation"].read_bytes())
    content[-1] ^= 1  # The last byte of the archive's directory: same size, another content.
    sources["validation"].write_bytes(content)
    os.utime(sources["validation"], (1e9, 1e9))
    found = snakemake(*again)
    text = found.stdout + found.stderr
    assert found.returncode == 0 and re.search(r"^simulate +1$", text, re.M), text
