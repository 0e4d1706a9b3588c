"""Archives that claim, climb, unpack without end or lead elsewhere: refused, and nothing touched."""

import bz2
import io as memory
import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from refusals import refused

from ptycho_torch.data.read import read_scan
from ptycho_torch.files import io
from ptycho_torch.files.hdf5 import open_hdf5
from ptycho_torch.infer.parity.files import read_dump
from ptycho_torch.networks.bundle import read_bundle
from ptycho_torch.runtime.errors import InputError

MIB = 2**20


class Bomb:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def npy(shape, kind="<f4", data=b""):
    """Return an .npy file whose header claims a shape."""
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def archive(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return path


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
