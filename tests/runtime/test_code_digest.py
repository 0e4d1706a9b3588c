"""The list of a stage's code: what writes it anew, and what leaves it and its date alone."""

import os
import shutil
import subprocess

import pytest

from ptycho_torch.runtime import code_digest as sources
from ptycho_torch.runtime.code_digest import keep_list


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
    assert [line.split("  ")[1] for line in listed.read_text().splitlines()] == [
        "src/a.py",
        "src/b.py",
    ]
    assert [path.name for path in listed.parent.iterdir()] == ["train.txt"]


def test_a_list_that_says_the_same_keeps_its_date(project):
    root, listed, call = project
    call()
    os.utime(listed, (1e9, 1e9))
    os.utime(root / "src/a.py")
    assert call() == 10**18


@pytest.mark.parametrize(
    "edit",
    [
        lambda src: (src / "a.py").write_text("edited"),
        lambda src: (src / "b.py").unlink(),
        lambda src: (src / "c.py").write_text("new"),
        lambda src: (src / "b.py").rename(src / "d.py"),
    ],
)
def test_an_edit_a_loss_an_addition_and_another_name_write_it_anew(project, edit):
    root, listed, call = project
    call()
    before = listed.read_text()
    os.utime(listed, (1e9, 1e9))
    edit(root / "src")
    assert call() > 10**18 and listed.read_text() != before
