"""A file is there whole or not at all; a full or closed disk is said in one line."""

import errno
import os
import resource

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


def test_a_disk_without_room_leaves_no_file_and_says_so_in_one_line(tmp_path):
    """A limit on a file's size stands for the disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
    try:
        with pytest.raises(InputError, match="cannot be written: File too large; make room"):
            io.write_npz(tmp_path / "a.npz", {"x": np.zeros(10**5)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_may_not_be_written_is_one_line(tmp_path):
    path, reason = tmp_path / "a.json", os.strerror(errno.EACCES)
    with pytest.raises(InputError) as refused, io.atomic_write(path) as part:
        raise OSError(errno.EACCES, reason, str(part))
    assert str(refused.value).startswith(f"{path}: cannot be written: {reason}; make room")
