"""The list of a stage's code: what writes it anew, and what leaves it and its date alone."""

import os
import shutil
import subprocess

import pytest

from ptycho_torch.runtime import code_digest
from ptycho_torch.runtime.code_digest import keep_list


@pytest.fixture
def project(tmp_path):
    """Two sources and where their list goes; a call of snakemake is `call()`."""
    (tmp_path / "src").mkdir()
    for name in ("a.py", "b.py"):
        (tmp_path / "src" / name).write_text(name)
    listed = tmp_path / "results/sources/train.txt"

    def call():
        code_digest._sha256.cache_clear()  # Each call of snakemake is a process of its own.
        keep_list(listed, sorted((tmp_path / "src").glob("*.py")), root=tmp_path)
        return listed.stat().st_mtime_ns

    call()
    return tmp_path, listed, call


def test_the_list_is_what_sha256sum_checks(project):
    root, listed, _ = project
    program = shutil.which("sha256sum")
    assert program is not None
    subprocess.run([program, "--check", "--strict", str(listed)], cwd=root, check=True)
    names = [line.split("  ")[1] for line in listed.read_text().splitlines()]
    assert names == ["src/a.py", "src/b.py"]
    assert [path.name for path in listed.parent.iterdir()] == ["train.txt"]


@pytest.mark.parametrize(
    ("edit", "same"),
    [
        (lambda src: os.utime(src / "a.py"), True),
        (lambda src: (src / "a.py").write_text("edited"), False),
        (lambda src: (src / "b.py").rename(src / "d.py"), False),
    ],
)
def test_what_changes_a_list_writes_it_anew_and_a_touch_keeps_its_date(project, edit, same):
    root, listed, call = project
    before = listed.read_text()
    os.utime(listed, (1e9, 1e9))
    edit(root / "src")
    assert (call() == 10**18) == same == (listed.read_text() == before)
