"""The list of a stage's code: what writes it anew, and what leaves it and its date alone."""

import os
import shutil
import subprocess

import pytest

from ptycho_torch.runtime import code_digest as sources
from ptycho_torch.runtime.code_digest import keep_list


def contents(root):
    return {path.name: path.read_text() for path in (root / "src").iterdir()}


@pytest.fixture
def project(tmp_path):
    """Two sources and where their list goes; a call of snakemake is `call()`."""
    for name in ("a.py", "b.py"):
        (tmp_path / "src").mkdir(exist_ok=True)
        (tmp_path / "src" / name).write_text(name)
    listed = tmp_path / "results/sources/train.txt"

    def call():
        sources._sha256.cache_clear()  # Each call of snakemake is a process of its own.
        keep_list(listed, sorted((tmp_path / "src").glob("*.py")), root=tmp_path)
        return listed.stat().st_mtime_ns

    return tmp_path, listed, call


def test_the_list_is_what_sha256sum_checks(project):
    root, listed, call = project
    call()
    program = shutil.which("sha256sum")
    assert program is not None
    subprocess.run([program, "--check", "--strict", str(listed)], cwd=root, check=True)
    names = [line.split("  ")[1] for line in listed.read_text().splitlines()]
    assert names == ["src/a.py", "src/b.py"]
    assert [path.name for path in listed.parent.iterdir()] == ["train.txt"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda src: os.utime(src / "a.py"),
        lambda src: (src / "a.py").write_text("edited"),
        lambda src: (src / "b.py").unlink(),
        lambda src: (src / "c.py").write_text("new"),
        lambda src: (src / "b.py").rename(src / "d.py"),
    ],
)
def test_what_changes_a_list_writes_it_anew_and_a_touch_keeps_its_date(project, edit):
    root, listed, call = project
    call()
    before, sources_before = listed.read_text(), contents(root)
    os.utime(listed, (1e9, 1e9))
    edit(root / "src")
    same = contents(root) == sources_before
    assert (call() == 10**18) == same == (listed.read_text() == before)
