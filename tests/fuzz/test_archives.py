"""Archives that claim, climb, unpack without end or lead elsewhere: refused, and nothing touched."""

import bz2
import io as memory
import json
import os
import pickle
import resource
import struct
import time
import zipfile
import zlib

import h5py
import numpy as np
import pytest

from ptycho_torch import io, io_npz, io_probe
from ptycho_torch.config.base import InputError
from ptycho_torch.dumps.files import read_dump
from ptycho_torch.generators.bundle import read_bundle
from ptycho_torch.io_hdf5 import open_hdf5
from ptycho_torch.measurements.read import read_scan

MIB = 2**20


class Bomb:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture
def little_memory():
    """Memory may grow by 150 MiB and no more while the block runs; else the test fails."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 * 1024


@pytest.fixture
def small_bound(monkeypatch):
    """What is harmless unpacked is 2 MiB here, so that bombs need not be large."""
    monkeypatch.setattr(io_npz, "_HARMLESS", 2 * MIB)


def npy(shape, kind="<f4", data=b""):
    """Return an .npy file whose header claims a shape."""
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def archive(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return path


def refused(call, *words):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value).isprintable()
    for word in words:
        assert word in str(caught.value), caught.value


@pytest.mark.parametrize(
    ("shape", "kind"),
    [("(1000000000000,)", "<f4"), ("(10**6, 10**6)", "<f4"), ("(2**62, 4)", "|V0"), ("(-1, 4)", "<f4"),
     ("(16, 16)", "<c8"), ("(1000000000000,)", "<U0")],
)  # fmt: skip
def test_an_array_that_claims_more_than_is_there_is_refused(tmp_path, shape, kind, little_memory):
    path = archive(tmp_path / "a.npz", {"x.npy": npy(shape, kind, bytes(64))})
    refused(lambda: io.read_npz(path), "array 'x' cannot be read")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path, method, small_bound):
    size = 32 * MIB
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", method) as packed,
        packed.open("x.npy", "w", force_zip64=True) as member,
    ):
        member.write(npy(f"({size},)", "|u1"))
        for _ in range(size // (8 * MIB)):
            member.write(bytes(8 * MIB))
    assert (tmp_path / "a.npz").stat().st_size < MIB // 16
    refused(lambda: io.read_npz(tmp_path / "a.npz"), "claims to unpack from")


def test_members_that_share_their_bytes_count_each(tmp_path, little_memory):
    """A thousand entries of the table may lead to the same compressed bytes."""
    packed = memory.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("000000.npy", npy("(1000000,)", "|u1", bytes(10**6)))
    data = packed.getvalue()
    start, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    entries = b"".join(data[start:end].replace(b"000000", f"{n:06}".encode()) for n in range(1000))
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1000, 1000, len(entries), start, 0)
    (tmp_path / "a.npz").write_bytes(data[:start] + entries + tail)
    refused(lambda: io.npz_keys(tmp_path / "a.npz"), "claims to unpack from")


def test_what_bzip2_hides_is_bounded_by_the_files_own_size(tmp_path, small_bound):
    one = bz2.compress(bytes(4 * MIB))
    (tmp_path / "a.npz").write_bytes(one * 5)
    assert (tmp_path / "a.npz").stat().st_size < 1000
    refused(lambda: io.read_npz(tmp_path / "a.npz"), "unpacks to more than")


def test_names_that_climb_are_names_and_nothing_is_written(tmp_path):
    inside = tmp_path / "in"
    inside.mkdir()
    names = ["../../up", "/abs", "a/b", "..", "nul\x01"]
    path = archive(
        inside / "a.npz", {f"{name}.npy": npy("(1,)", "<f4", bytes(4)) for name in names}
    )
    before = sorted(tmp_path.rglob("*"))
    assert io.npz_keys(path) == names and set(io.read_npz(path)) == set(names)
    refused(lambda: read_scan(path), r"nul\x01")
    assert sorted(tmp_path.rglob("*")) == before


def test_two_arrays_of_one_name_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as packed:
        packed.writestr("x.npy", npy("(1,)", "<f4", b"abcd"))
        with pytest.warns(UserWarning, match="Duplicate name"):
            packed.writestr("x.npy", npy("(1,)", "<f4", b"efgh"))
    refused(lambda: io.read_npz(tmp_path / "a.npz", "x"), "two arrays of one name")


def test_no_pickle_runs_wherever_it_stands(tmp_path):
    mark = tmp_path / "executed"
    data = pickle.dumps(Bomb(mark))
    pickle.loads(data).close()
    assert mark.exists()  # the bomb works
    mark.unlink()
    whole = np.array({"by": Bomb(mark)}, dtype=object)
    np.savez(
        tmp_path / "scan.npz", diffraction=whole, xcoords=whole, ycoords=whole, _metadata=whole
    )
    np.save(tmp_path / "one.npy", whole)
    (tmp_path / "raw.npz").write_bytes(data)
    archive(tmp_path / "torch.npz", {"archive/data.pkl": data, "archive/version": b"3\n"})
    for name in ("scan.npz", "one.npy", "raw.npz", "torch.npz"):
        refused(lambda name=name: read_scan(tmp_path / name))
        refused(lambda name=name: io.read_tensors(tmp_path / name), "safetensors")
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for name in ("bundle.json", "weights.safetensors", "dump.json", "arrays.npz"):
        (bundle / name).write_bytes(data)
    refused(lambda: read_bundle(bundle), "bundle.json")
    (bundle / "dump.json").write_text(json.dumps({"format": "ptycho-torch dump 1"}))
    refused(lambda: read_dump(bundle), "never loaded")
    assert not mark.exists()


@pytest.mark.parametrize("made", ["fifo", "device"])
def test_what_never_ends_is_refused_and_not_waited_for(tmp_path, made):
    path = tmp_path / "scan.npz"
    if made == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    for read in (io.read_npz, io.read_json, io.read_csv, io.sha256, io.read_tensors, read_scan):
        refused(lambda read=read: read(path), "a pipe or a device")
    with pytest.raises(InputError, match="a pipe or a device"), open_hdf5(path):
        pass


@pytest.fixture
def cxi(tmp_path):
    """Return a function that writes an HDF5 file and returns what reads `x` from it."""

    def write(change):
        with h5py.File(tmp_path / "a.cxi", "w") as file:
            change(file)

        def read():
            with open_hdf5(tmp_path / "a.cxi") as file:
                return file.array("/x")

        return read

    return write


def virtual(path):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(path), "x", (4,))
    return layout


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda f, p: f.create_dataset("x", (10**12,), "f4", chunks=(1024,)), "claims"),
        (lambda f, p: f.create_dataset("x", (10**9,), "f4", chunks=(1024,)), "claims"),
        (lambda f, p: f.create_dataset("x", (4,), "f4", chunks=(5 * 10**8,), maxshape=(None,)), "claims"),
        (lambda f, p: f.create_dataset("x", (100 * MIB,), "f4", chunks=(MIB,), compression="gzip"), "claims"),
        (lambda f, p: f.__setitem__("x", h5py.ExternalLink(str(p), "/x")), "into another file"),
        (lambda f, p: f.create_virtual_dataset("x", virtual(p)), "stored in other files"),
        (lambda f, p: f.create_dataset("x", (4,), "f4", external=[(str(p), 0, 16)]), "stored in other"),
        (lambda f, p: f.__setitem__("x", h5py.SoftLink("/x")), "without an end"),
        (lambda f, p: f.create_dataset("x", data=h5py.Empty("f4")), "expected numbers"),
        (lambda f, p: f.create_dataset("x", data=["text"], dtype=h5py.string_dtype()), "expected numbers"),
    ],
)  # fmt: skip
def test_hdf5_that_claims_or_leads_elsewhere_is_refused(tmp_path, cxi, change, word, little_memory):
    """The other file is there, readable and right, and still not opened."""
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.ones(4, "f4")
    os.utime(tmp_path / "other.h5", (1, 1))
    refused(cxi(lambda file: change(file, tmp_path / "other.h5")), "/x", word)
    assert (tmp_path / "other.h5").stat().st_atime == 1


@pytest.mark.parametrize("chunk", [16, MIB])
def test_a_chunk_that_unpacks_beyond_its_size_is_refused(cxi, chunk, small_bound):
    """A filter unpacks what is stored, whatever the chunk should hold."""
    packed = zlib.compress(bytes(100 * MIB))

    def change(file):
        found = file.create_dataset("x", (chunk,), "u1", chunks=(chunk,), compression="gzip")
        found.id.write_direct_chunk((0,), packed)

    refused(cxi(change), "has a chunk that unpacks to more than")


def test_large_chunks_that_are_right_are_read(cxi):
    data = np.random.default_rng(0).integers(0, 255, 2 * MIB, dtype=np.uint8)
    read = cxi(
        lambda file: file.create_dataset(
            "x", data=data, chunks=(MIB,), compression="gzip", shuffle=True
        )
    )
    np.testing.assert_array_equal(read(), data)


def test_large_attributes_and_texts_of_hdf5_are_not_loaded(tmp_path):
    with h5py.File(tmp_path / "a.cxi", "w", libver="latest") as file:
        file["x"] = np.ones(3)
        file["x"].attrs["units"] = np.zeros(10**5)
        file["text"] = "a" * 10**6
    with open_hdf5(tmp_path / "a.cxi") as file:
        refused(lambda: file.attribute("/x", "units"), "too large")
        assert file.text("/text") is None or len(file.text("/text")) <= 10**6


def with_text(path):
    """Write an HDF5 file with a text of variable length; return its bytes and its heap's place."""
    with h5py.File(path, "w") as file:
        file["text"] = "where it lies"
        file["x"] = np.ones(3)
        file["x"].attrs["units"] = "um"
    data = bytearray(path.read_bytes())
    return data, data.index(b"GCOL")


def test_a_heap_without_an_end_is_refused(tmp_path, monkeypatch):
    """The library walks on the spot for ever there, in C, where nothing can stop it."""
    path = tmp_path / "a.cxi"
    data, heap = with_text(path)
    data[heap + 16 : heap + 32] = bytes(16)
    path.write_bytes(data)
    monkeypatch.setattr(io_probe, "SECONDS", 0.2)
    with pytest.raises(InputError, match="the HDF5 library finds no end in it"), open_hdf5(path):
        pass


def test_a_file_that_crashes_the_library_ends_a_child_and_not_us(tmp_path, monkeypatch):
    path = tmp_path / "a.cxi"
    with_text(path)
    monkeypatch.setattr(io_probe, "_go_through", lambda *_: os.kill(os.getpid(), 9))
    with pytest.raises(InputError, match="is ended by signal 9"), open_hdf5(path):
        pass
    monkeypatch.setattr(io_probe, "_go_through", lambda *_: time.sleep(60))
    monkeypatch.setattr(io_probe, "PATIENCE_S", 0.2)
    with pytest.raises(InputError, match="gone through in 0.2 s; copy it"), open_hdf5(path):
        pass


def test_a_texts_claimed_length_is_not_made_room_for(tmp_path, little_memory):
    path = tmp_path / "a.cxi"
    data, heap = with_text(path)
    address = heap.to_bytes(8, "little")
    assert data.count(address) >= 2
    for length in (len("where it lies"), len("um")):
        place = data.index(length.to_bytes(4, "little") + address)
        data[place : place + 4] = (0xFFFFFFF0).to_bytes(4, "little")
    path.write_bytes(data)
    with open_hdf5(path) as file:
        refused(lambda: file.text("/text"), "/text cannot be read")
        refused(lambda: file.attribute("/x", "units"), "/x cannot be read")
        np.testing.assert_array_equal(file.array("/x"), np.ones(3))
