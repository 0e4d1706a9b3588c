"""Laws of the readers over generated content: a value as promised, or one printable line."""

import io as memory
import json
import os
import string
import struct
import zipfile

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from ptycho_torch.config.read import load_yaml, parse_study, typed_overrides
from ptycho_torch.config.study import Study
from ptycho_torch.data.read import read_scan
from ptycho_torch.files import io
from ptycho_torch.infer.parity.files import read_dump
from ptycho_torch.runtime.errors import InputError, printable

# FUZZ_EXAMPLES is how many `make fuzz` asks for; without it, few and always the same.
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "25"))
law = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)

scalars = some.one_of(
    some.none(),
    some.booleans(),
    some.integers(-(2**70), 2**70),
    some.floats(),
    some.text(max_size=20),
)
trees = some.recursive(
    scalars,
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
blocks = some.dictionaries(some.text(max_size=12), trees, max_size=4)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("laws")


def refused_or(call):
    """Return what a reader returns, or None where it refuses in printable lines."""
    try:
        return call()
    except InputError as error:
        said = str(error)
    assert all(map(str.isprintable, said.split("\n  "))), repr(said)
    return None


@law
@given(blocks)
def test_json_comes_back_or_is_refused(place, data):
    path = place / "a.json"
    path.write_bytes(json.dumps(data).encode())
    found = refused_or(lambda: io.read_json(path))
    assert found is None or found == data
    if found is not None:
        json.dumps(found, allow_nan=False, ensure_ascii=False).encode()


@law
@given(blocks)
def test_yaml_comes_back_or_is_refused(place, data):
    path = place / "a.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8", errors="replace")
    found = refused_or(lambda: load_yaml(path))
    assert found is None or isinstance(found, dict)
    if found is not None:
        refused_or(lambda: parse_study(found, "a.yaml"))


@law
@given(some.text())
def test_any_text_of_a_command_line_is_typed_or_refused(text):
    refused_or(lambda: typed_overrides({"training": {"epochs": text}}))


@law
@given(some.data())
def test_a_study_with_any_block_changed_is_a_study_or_refused(root, data):
    study = load_yaml(root / "tests" / "tiny.yaml")
    key = data.draw(some.sampled_from(sorted(study)))
    if isinstance(study[key], dict) and data.draw(some.booleans()):
        inner = data.draw(some.sampled_from(sorted(study[key])) | some.text(max_size=9))
        study[key][inner] = data.draw(trees)
    else:
        study[key] = data.draw(trees)
    found = refused_or(lambda: parse_study(study, "a.yaml"))
    assert found is None or isinstance(found, Study)


shapes = some.lists(some.integers(-2, 2**40) | some.integers(0, 5), max_size=5)
types = some.sampled_from(
    ["<f4", "<f8", "<c8", "|b1", "<i8", "|u1", "<U3", "|S2", "|O", "<M8[s]", "|V0", "zz"]
)
names = some.sampled_from(
    ["diffraction", "xcoords", "ycoords", "probeGuess", "objectGuess", "data", "scan", "stitched"]
)


@law
@given(
    some.lists(
        some.tuples(names | some.text(max_size=9), shapes, types, some.binary(max_size=64)),
        max_size=4,
    )
)
def test_any_headers_in_an_archive_are_arrays_or_refused(place, members):
    folder = place / "dump"
    folder.mkdir(exist_ok=True)
    (folder / "dump.json").write_text(json.dumps({"format": "ptycho-torch dump 1"}))
    packed = memory.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in dict.fromkeys(member[0] for member in members):
            _, shape, kind, content = next(m for m in members if m[0] == name)
            head = (
                f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {tuple(shape)}}}\n".encode()
            )
            size = struct.pack("<H", len(head))
            try:
                archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + size + head + content)
            except (UnicodeEncodeError, ValueError):
                return  # A name that no zip archive can have.
    (folder / "arrays.npz").write_bytes(packed.getvalue())
    found = refused_or(lambda: io.read_npz(folder / "arrays.npz"))
    assert found is None or all(array.nbytes <= 64 for array in found.values())
    assert found is None or not any(array.dtype.hasobject for array in found.values())
    refused_or(lambda: read_scan(folder / "arrays.npz"))
    refused_or(lambda: read_dump(folder))


cells = some.one_of(some.integers(-9, 9), some.floats(allow_nan=False), some.just(""))


@law
@given(
    some.lists(
        some.tuples(some.text(string.printable, max_size=9), cells, cells), min_size=1, max_size=5
    )
)
def test_tables_keep_words_as_words_and_numbers_as_numbers(place, rows):
    import pandas as pd

    path = place / "a.csv"
    io.write_csv(path, pd.DataFrame(rows, columns=["arm", "seed", "loss"]))
    table = refused_or(lambda: io.read_csv(path))
    assert table is None or table.index.tolist() == list(range(len(table)))
    if table is not None and len(table) == len(rows):
        numbers = [np.nan if row[2] == "" else float(row[2]) for row in rows]
        np.testing.assert_allclose(table["loss"].astype(float), numbers, rtol=1e-12)


@law
@given(some.text(some.characters(), max_size=50))
def test_every_line_is_printable_and_said_once(text):
    assert printable(text).isprintable() and printable(printable(text)) == printable(text)
    assert str(InputError(text)).isprintable()
