"""A file is there whole and right or not at all, wherever it comes from; a full or closed disk is said
in one line."""

import errno
import hashlib
import os
import resource
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from ptycho_torch.files import io
from ptycho_torch.files.download import fetch
from ptycho_torch.files.io import must_have
from ptycho_torch.runtime.disk import remove_leftovers
from ptycho_torch.runtime.errors import InputError

CONTENT, FILE = bytes(range(256)) * 40, "measured.npz.bz2"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a server that has the file, and another one that was cut."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "whole").write_bytes(CONTENT)
    (folder / "short").write_bytes(CONTENT[:-1000])
    answers = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder)
    )
    threading.Thread(target=answers.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{answers.server_port}"
    answers.shutdown()
    answers.server_close()


@pytest.fixture
def get(tmp_path, monkeypatch):
    monkeypatch.delenv("PTYCHO_DATA", raising=False)
    path = tmp_path / "got" / "measured"
    return lambda address: fetch(path, address=address, file=FILE, sha256=SHA256)


def test_a_download_is_the_very_file(get, server, tmp_path):
    assert get(f"{server}/whole") == "download"
    assert (tmp_path / "got" / "measured").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["measured"]


@pytest.mark.parametrize(("page", "message"), [("/missing", "404"), ("/short", "hash")])
def test_a_wrong_download_is_one_line_and_leaves_nothing(get, server, tmp_path, page, message):
    with pytest.raises(InputError) as error:
        get(server + page)
    said = str(error.value)
    assert message in said and "\n" not in said and server in said
    assert f"'{FILE}' into a folder" in said and "PTYCHO_DATA" in said
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_folder_comes_first_and_is_checked_as_well(get, tmp_path, monkeypatch):
    """The address leads nowhere: the file must come from the folder."""
    nobody = "http://127.0.0.1:9/nobody.bz2"
    monkeypatch.setenv("PTYCHO_DATA", str(tmp_path))
    (tmp_path / FILE).write_bytes(CONTENT)
    assert get(nobody) == "folder"
    (tmp_path / FILE).write_bytes(CONTENT[:-1])
    with pytest.raises(InputError, match="SHA-256"):
        get(nobody)
    monkeypatch.setenv("PTYCHO_DATA", str(tmp_path / "none"))
    with pytest.raises(InputError, match="is no folder"):
        get(nobody)


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
