"""Snakemake as users type it, in a folder of its own."""

from functools import partial

import pytest
import yaml
from tests import commands

from ptycho_torch.config.read import load_yaml


@pytest.fixture
def snakemake(tmp_path):
    """Run a snakemake command line with results in tmp_path; return what it printed."""
    return partial(commands.snakemake, tmp_path)


@pytest.fixture
def config_file(tmp_path):
    """Write the tiny study as a change leaves it; return its path."""

    def write(change):
        study, path = load_yaml(commands.ROOT / "tests/tiny.yaml"), tmp_path / "study.yaml"
        change(study)
        path.write_text(yaml.safe_dump(study))
        return str(path)

    return write
