"""A file is there whole and right or not at all, wherever it comes from; one that is truncated,
foreign or pickled gets one line, and nothing is executed."""

import hashlib
import json
import math
import pickle
import resource
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from unittest.mock import Mock

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from tests.samples import untrained_bundle

from ptycho_torch.data.read import read_scan
from ptycho_torch.data.units import Scales
from ptycho_torch.files import io
from ptycho_torch.files.download import fetch
from ptycho_torch.files.hdf5 import open_hdf5
from ptycho_torch.files.io import must_have
from ptycho_torch.infer.dump import Dump, read_dump, write_dump
from ptycho_torch.networks.bundle import read_bundle, write_bundle
from ptycho_torch.runtime.disk import remove_leftovers
from ptycho_torch.runtime.errors import InputError, printable

CONTENT, FILE = bytes(range(256)) * 40, "measured.npz.bz2"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a server that has the file, and another one that was cut."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "whole").write_bytes(CONTENT)
    (folder / "short").write_bytes(CONTENT[:-1000])
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    answers = ThreadingHTTPServer(("127.0.0.1", 0), handler)
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
    (tmp_path / "got" / "measured").unlink()
    with pytest.raises(InputError, match=rf"{FILE}: is not to be had: SHA256 hash of"):
        get(nobody)
    monkeypatch.setenv("PTYCHO_DATA", str(tmp_path / "none"))
    with pytest.raises(InputError, match="nobody.bz2: is not to be had: .* PTYCHO_DATA"):
        get(nobody)


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a.npz"
    io.write_npz(path, {"x": np.ones(3)})
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError), io.atomic_write(path) as part:
        part.write_text(f"half {1 / 0}")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_what_a_killed_process_left_of_a_file_is_removed_and_nothing_else(tmp_path):
    for name in (".run-0123abcd.json", ".run-0123abcd.csv", ".run.json", "run.json"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "run.json")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {".run-0123abcd.csv", ".run.json", "run.json"}


def test_a_changed_file_is_told_by_its_checksum(tmp_path):
    path = tmp_path / "test.npz"
    io.write_npz(path, {"x": np.ones(3)})
    expected = io.sha256(path)
    must_have(path, expected)
    data = bytearray(path.read_bytes())
    data[-30] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"test\.npz: SHA-256 is \w{64}, expected \w{64}; "):
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


def refused(call, *words):
    """Call what must raise `InputError` with these words in printable lines."""
    with pytest.raises(InputError) as caught:
        call()
    assert all(line.isprintable() for line in str(caught.value).split("\n  "))
    for word in words:
        assert word in str(caught.value)


def read_hdf5(path, where="/x"):
    with open_hdf5(path) as file:
        return file.array(where)


READERS = {
    "npz": io.read_npz, "json": io.read_json, "csv": io.read_csv, "tensors": io.read_tensors,
    "hdf5": read_hdf5, "scan": read_scan,
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_of_the_kind_is_named(tmp_path, name):
    read, path = READERS[name], tmp_path / "file"
    for content in (b"", b"\xff\xfe\x00no file of data", b"\x93NUMPY\x01\x00"):
        path.write_bytes(content)
        refused(lambda: read(path), str(path))
    for path in (tmp_path, tmp_path / "missing", f"{tmp_path}/a\x00b"):
        refused(lambda path=path: read(path), "cannot be read")


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["npz", "json", "tensors", "hdf5"])
def test_a_file_that_was_cut_is_refused(tmp_path, kind, keep):
    path = tmp_path / "file"
    data = np.random.default_rng(1).random(3000)
    if kind == "hdf5":
        with h5py.File(path, "w") as file:
            file["x"] = data
    else:
        write = {"npz": io.write_npz, "json": io.write_json, "tensors": io.write_tensors}[kind]
        x = {"npz": data, "json": data.tolist(), "tensors": torch.from_numpy(data)}[kind]
        write(path, {"x": x})
    READERS[kind](path)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    refused(lambda: READERS[kind](path), str(path))


class Bomb:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_no_pickle_runs_wherever_it_stands(tmp_path):
    mark = tmp_path / "executed"
    data = pickle.dumps(Bomb(mark))
    pickle.loads(data).close()
    assert mark.exists()  # the bomb works
    mark.unlink()
    whole = np.array({"by": Bomb(mark)}, dtype=object)
    np.savez(tmp_path / "a.npz", diffraction=whole, xcoords=whole, ycoords=whole, _metadata=whole)
    np.save(tmp_path / "b.npy", whole)
    (tmp_path / "c.npz").write_bytes(data)
    for name in ("a.npz", "b.npy", "c.npz"):
        refused(lambda name=name: read_scan(tmp_path / name))
        refused(lambda name=name: io.read_tensors(tmp_path / name), "safetensors")
    for name in ("bundle.json", "weights.safetensors", "dump.json", "arrays.npz"):
        (tmp_path / name).write_bytes(data)
    refused(lambda: read_bundle(tmp_path), "bundle.json")
    (tmp_path / "dump.json").write_text(json.dumps({"format": "ptycho-torch dump 1"}))
    refused(lambda: read_dump(tmp_path), "arrays.npz")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("read", "write", "made"),
    [
        (read_bundle, write_bundle, untrained_bundle()),
        (read_dump, write_dump, Dump(stitched_YX=np.ones((9, 9), complex), scales=Scales())),
    ],
)
def test_what_was_torn_while_it_was_written_over_is_none(tmp_path, monkeypatch, read, write, made):
    """Its JSON file is written last, and taken away first."""
    write(tmp_path, made)
    for name in ("write_tensors", "write_npz"):
        monkeypatch.setattr(io, name, Mock(side_effect=OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path, made)
    refused(lambda: read(tmp_path), ".json: cannot be read")


def test_hdf5_that_lies_in_another_file_is_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = np.ones(3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["linked"] = h5py.ExternalLink("other.h5", "/x")
        layout = h5py.VirtualLayout((3,), "f8")
        layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "x", shape=(3,))
        file.create_virtual_dataset("virtual", layout)
        file["near"], file["soft"] = np.ones(3), h5py.SoftLink("/near")
        file["nowhere"] = h5py.SoftLink("/gone")
    for where in ("/linked", "/virtual"):
        refused(lambda where=where: read_hdf5(tmp_path / "a.h5", where), "another file")
    assert read_hdf5(tmp_path / "a.h5", "/soft").tolist() == [1, 1, 1]
    assert read_hdf5(tmp_path / "a.h5", "/nowhere") is None


def test_a_filter_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        how.set_chunk((4,))
        how.set_filter(40000, h5py.h5z.FLAG_OPTIONAL, (0, 2))
        space = h5py.h5s.create_simple((4,))
        data = h5py.h5d.create(file.id, b"x", h5py.h5t.STD_U32LE, space, how)
        data.write_direct_chunk((0,), b"x" * 9, 0)
    refused(lambda: read_hdf5(tmp_path / "a.h5"), "/x", "filter", "pip install hdf5plugin")


def test_a_file_that_is_open_in_a_writer_says_so(tmp_path):
    path = tmp_path / "a.h5"
    program = "import sys, h5py; file = h5py.File(sys.argv[1], 'w'); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program, path], stdin=-1, stdout=-1) as writer:
        writer.stdout.readline()
        refused(lambda: read_hdf5(path), str(path), "if another program writes it, wait")
        writer.communicate(b"\n")


@pytest.mark.parametrize("arms", [["1", "007"], ["NA", "1e5"], ["a,b", "'"]])
def test_names_in_tables_stay_words_and_numbers_numbers(tmp_path, arms):
    path, losses = tmp_path / "runs.csv", [math.nan, 5e-324]
    io.write_csv(path, pd.DataFrame({"arm": arms, "seed": [0, 1], "loss": losses}))
    table = io.read_csv(path)
    assert table["arm"].tolist() == arms and table["seed"].tolist() == [0, 1]
    np.testing.assert_array_equal(table["loss"], losses)
    path.write_text("epoch,loss\n")
    assert io.read_csv(path).shape == (0, 2)


def test_results_of_another_shape_name_the_key(tmp_path):
    path = tmp_path / "dataset.json"
    io.write_json(path, {"patch_px": 16, "splits": [{"train": {}}]})
    train = io.read_json(path)["splits"][0]["train"]
    refused(lambda: train["sha256"], str(path), "lacks 'sha256'")
    path.write_text('{"a": NaN}')
    refused(lambda: io.read_json(path), "NaN is no number of JSON")


def test_lines_for_people_hold_nothing_for_terminals():
    assert printable("é µ ± 中 a\\b") == "é µ ± 中 a\\b"
    assert printable("a\nb\r\x1b[2J\u202e\ud800\x00") == r"a\nb\r\x1b[2J\u202e\ud800\x00"
    assert str(InputError("a\nb", "c\nd")) == "a\\nb\n  c\\nd"
