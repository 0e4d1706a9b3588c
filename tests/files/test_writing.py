"""A file is there whole or not at all; a full or closed disk is said in one line."""

import resource
import subprocess
import sys

import numpy as np
import pytest

from ptycho_torch.files import io
from ptycho_torch.files.io import must_have
from ptycho_torch.runtime.disk import remove_leftovers
from ptycho_torch.runtime.errors import InputError


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a.npz"
    io.write_npz(path, {"x": np.ones(3)})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="pickled"):
        io.write_npz(path, {"x": np.ones(3), "y": np.array([{}], dtype=object)})
    with pytest.raises(ZeroDivisionError), io.atomic_write(path) as part:
        part.write_text(f"half {1 / 0}")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_what_a_killed_process_left_of_a_file_is_removed_and_nothing_else(tmp_path):
    for name in (".run-0123abcd.json", ".run-0123abcd.csv", ".run.json", "run.json"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "run.json")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        ".run-0123abcd.csv", ".run.json", "run.json",
    ]  # fmt: skip


def test_a_changed_file_is_told_by_its_checksum(tmp_path):
    path = tmp_path / "test.npz"
    io.write_npz(path, {"x": np.ones(3)})
    expected = io.sha256(path)
    must_have(path, expected)
    data = bytearray(path.read_bytes())
    data[-30] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"test\.npz: SHA-256 is \w{64}, expected \w{64}; .*run"):
        must_have(path, expected)


CHILD = """
import sys
from pathlib import Path
import numpy as np
import torch
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError

for name, write in {
    "a.npz": lambda path: io.write_npz(path, {"x": np.zeros(10**5)}),
    "a.json": lambda path: io.write_json(path, {"x": [0] * 10**5}),
    "a.safetensors": lambda path: io.write_tensors(path, {"x": torch.zeros(10**5)}),
}.items():
    path = Path(sys.argv[1]) / name
    try:
        write(path)
    except InputError as error:
        print(error)
"""


def refused(folder, **more):
    done = subprocess.run([sys.executable, "-c", CHILD, str(folder)], capture_output=True, text=True,
                          check=False, **more)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_disk_without_room_leaves_no_file_and_says_so_in_one_line(tmp_path):
    """A limit on a file's size stands for the disk."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))

    said = refused(tmp_path, preexec_fn=limit)
    assert len(said) == 3 and all("cannot be written: File too large; make room" in s for s in said)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "word"), [("size=64k", "No space left on device; make room"), ("ro", "Read-only")]
)
def test_a_full_or_read_only_disk_is_said(tmp_path, options, word):
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs root, to mount a small disk")
    try:
        said = refused(place)
        assert len(said) == 3 and all(word in line for line in said)
        assert not list(place.iterdir())
    finally:
        subprocess.run(["umount", str(place)], check=True)
