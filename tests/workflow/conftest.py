"""Snakemake as users type it, in a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def snakemake(tmp_path):
    """Run a snakemake command line in the project's folder, with results in tmp_path."""

    def run(*words, timeout=300):
        programs = Path(sys.executable).parent
        return subprocess.run(
            [programs / "snakemake", *words, "--directory", tmp_path], cwd=ROOT,
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def config_file(tmp_path, tiny):
    """Write a changed tiny study; return its path."""
    import yaml

    def write(change=lambda data: None):
        change(tiny)
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(tiny))
        return str(path)

    return write
