"""The list of a stage's code: what writes it anew, and what leaves it and its date alone."""

import os
import subprocess

import pytest

from ptycho_torch.runtime import code_digest
from ptycho_torch.runtime.code_digest import keep_list


@pytest.mark.parametrize(
    ("edit", "same"),
    [
        (lambda src: os.utime(src / "a.py"), True),
        (lambda src: (src / "a.py").write_text("edited"), False),
        (lambda src: (src / "b.py").rename(src / "d.py"), False),
    ],
)
def test_what_changes_a_list_writes_it_anew_and_a_touch_keeps_its_date(tmp_path, edit, same):
    src, listed = tmp_path / "src", tmp_path / "results/sources/train.txt"
    src.mkdir()
    for name in ("a.py", "b.py"):
        (src / name).write_text(name)

    def call():
        code_digest._sha256.cache_clear()  # Each call of snakemake is a process of its own.
        keep_list(listed, sorted(src.glob("*.py")), root=tmp_path)
        subprocess.run(["sha256sum", "--check", "--strict", listed], cwd=tmp_path, check=True)
        return listed.read_text()

    before = call()
    os.utime(listed, (1e9, 1e9))
    edit(src)
    assert (call() == before) == same == (listed.stat().st_mtime_ns == 10**18)
