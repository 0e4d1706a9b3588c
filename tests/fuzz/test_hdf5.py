"""HDF5 files that claim, lead elsewhere, or that the library does not come back from."""

import os
import time
import zlib

import h5py
import numpy as np
import pytest
from refusals import refused

from ptycho_torch.files import hdf5_screen as io_probe
from ptycho_torch.files.hdf5 import open_hdf5
from ptycho_torch.runtime.errors import InputError

MIB = 2**20


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


# HDF5 1.14.4 writes no chunk of 16 bytes that takes 100 KB in the file.
@pytest.mark.parametrize("chunk", [256, MIB])
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
