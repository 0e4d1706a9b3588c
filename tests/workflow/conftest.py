"""Snakemake as users type it, in a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml


@pytest.fixture
def snakemake(tmp_path, root):
    """Run a snakemake command line in the project's folder, with results in tmp_path."""

    def run(*words):
        programs = Path(sys.executable).parent
        return subprocess.run(
            [programs / "snakemake", *words, "--directory", tmp_path], cwd=root,
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def config_file(tmp_path, tiny):
    """Write a changed tiny study; return its path."""

    def write(change=lambda data: None):
        change(tiny)
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(tiny))
        return str(path)

    return write
