"""Laws of the readers over generated content: a value as promised, or one printable line."""

import io as memory
import os
import struct
import zipfile

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from ptycho_torch.config.read import load_yaml, parse_study
from ptycho_torch.config.study import Study
from ptycho_torch.data.read import read_scan
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError

# FUZZ_EXAMPLES is how many `make fuzz` asks for; without it, few and always the same.
law = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "25")),
    deadline=None,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)
scalars = some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=20)
keys = some.text(max_size=12)
trees = some.recursive(
    scalars,
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


def refused_or(call):
    """Return what a reader returns, or None where it refuses in printable lines."""
    try:
        return call()
    except InputError as error:
        message = str(error)
    assert all(map(str.isprintable, message.split("\n  "))), message
    return None


@law
@given(some.data())
def test_a_study_with_any_block_changed_is_a_study_or_refused(root, data):
    study = load_yaml(root / "tests" / "tiny.yaml")
    key = data.draw(some.sampled_from(sorted(study)))
    if isinstance(study[key], dict) and data.draw(some.booleans()):
        study[key][data.draw(some.sampled_from(sorted(study[key])) | keys)] = data.draw(trees)
    else:
        study[key] = data.draw(trees)
    found = refused_or(lambda: parse_study(study, "a.yaml"))
    assert found is None or isinstance(found, Study)


shapes = some.lists(some.integers(-2, 2**40) | some.integers(0, 5), max_size=5)
types = some.sampled_from(["<f4", "<f8", "<c8", "|b1", "<i8", "|u1", "<U3", "|O", "<M8[s]", "zz"])
names = some.sampled_from(["diffraction", "xcoords", "ycoords", "probeGuess", "data", "scan"])


@law
@given(some.dictionaries(names, some.tuples(shapes, types, some.binary(max_size=64)), max_size=4))
def test_any_headers_in_an_archive_are_arrays_or_refused(tmp_path, members):
    packed = memory.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, (shape, kind, content) in members.items():
            head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {tuple(shape)}}}\n"
            size = struct.pack("<H", len(head))
            archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + size + head.encode() + content)
    (tmp_path / "a.npz").write_bytes(packed.getvalue())
    found = refused_or(lambda: io.read_npz(tmp_path / "a.npz"))
    assert found is None or all(a.nbytes <= 64 and not a.dtype.hasobject for a in found.values())
    refused_or(lambda: read_scan(tmp_path / "a.npz"))
