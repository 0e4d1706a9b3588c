"""Text that is more than it looks: YAML of aliases, JSON without an end, tables that shift."""

import subprocess
import sys

import pytest
from refusals import refused

from ptycho_torch.config.read import load_yaml, parse_study, read_study, typed_overrides
from ptycho_torch.files import io
from ptycho_torch.files.schemas import DatasetFacts, RunRecord, read_result
from ptycho_torch.runtime.errors import InputError, printable

LAUGHS = ["a0: &a0 [x, x]"] + [
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)
]
MERGES = ["a0: &a0 {x: 1}"] + [
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 12)
]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("\n".join(LAUGHS), "stand for too much"),
        ("\n".join(MERGES), "stand for too much"),
        ("a: &a [*a]", "an alias stands for itself"),
        ("a: &a {<<: *a}", "an alias stands for itself"),
        ("a: !!python/object/apply:os.system ['exit 1']", "is not YAML"),
        ("a: !!int ''", "is not YAML"),
        ("a: !!float ''", "is not YAML"),
        ("a: !!bool x", "is not YAML"),
        ("a: !!timestamp x", "is not YAML"),
        ("a: " + "[" * 600, "is not YAML"),
        ("a: " + "1" * 5000, "is not YAML"),
        ("a: b\x00c", "is not YAML"),
        ("a: " + "b" * 2**21, "at most"),
        ("{1: a}", "a key must be a word"),
        ("? [a, b]\n: c", "a key must be a word"),
    ],
)
def test_yaml_that_is_no_study_is_refused_at_once(tmp_path, text, word):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    refused(lambda: load_yaml(path), str(path), word)


def test_aliases_that_a_study_uses_are_fine(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("a: &a {x: 1, y: [1, 2]}\nb: {<<: *a, x: 2}\nc: *a\n")
    assert load_yaml(path)["b"] == {"x": 2, "y": [1, 2]}


def test_overrides_are_read_as_strictly_as_files():
    assert typed_overrides({"a": {"b": "1e-3", "c": "[1, x]", "d": "a: b: c"}}) == {
        "a": {"b": "1e-3", "c": [1, "x"], "d": "a: b: c"}
    }
    refused(lambda: typed_overrides({"a": "{b: 1, b: 2}"}), "--config", "'b' stands twice")
    refused(lambda: typed_overrides({"a": "{" + ", ".join(LAUGHS) + "}"}), "--config", "too much")
    for text in ("!!int ''", "!!bool x", "!!timestamp x", "2001-99-99", "[a"):
        assert typed_overrides({"a": text}) == {"a": text}


def test_snakemake_refuses_a_bomb_with_the_same_line(tmp_path, root):
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(LAUGHS))
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--configfile", str(path), "--directory", str(tmp_path)],
        cwd=root, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "stand for too much" in done.stdout + done.stderr


def test_a_study_says_each_mistake_in_a_line_of_its_own(tiny):
    tiny["training"]["epochs\n  nothing: is wrong"] = 1
    tiny["title"] = "a\x1b[2J"
    said = refused(lambda: parse_study(tiny, "x.yaml"), r"epochs\n  nothing", "title")
    assert len(said.split("\n  ")) == 2 and "\x1b" not in said


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' * 100_000, "nested too deeply"),
        ('{"a": NaN}', "NaN is no number of JSON"),
        ('{"a": -Infinity}', "no number of JSON"),
        ('{"a": 1e999}', "1e999 is no number"),
        ('{"a": 99999999999999999999}', "no number of JSON"),
        ('{"a": ' + "1" * 5000 + "}", "is not JSON"),
        (r'{"a": "\ud800"}', "is not JSON"),
        ('"\ufeff{}"', "expected a JSON object"),
        ("{}{}", "is not JSON"),
        ("", "is not JSON"),
    ],
)
def test_json_that_no_program_can_use_is_refused(tmp_path, text, word):
    path = tmp_path / "run.json"
    path.write_text(text)
    refused(lambda: io.read_json(path), str(path), word)


def test_files_larger_than_their_kind_can_be_are_not_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(io, "LARGEST_JSON", 100)
    monkeypatch.setattr(io, "LARGEST_CSV", 100)
    for name, read in (("a.json", io.read_json), ("a.csv", io.read_csv)):
        (tmp_path / name).write_text("1" * 101)
        refused(lambda read=read, name=name: read(tmp_path / name), "at most 100")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("epoch,loss\n1,2,3\n", "is not a CSV table"),
        ("epoch,loss\n1,2\n1,2,3\n", "is not a CSV table"),
        ("epoch,loss\n1,low\n", "'loss' holds what is no number"),
        ("epoch,loss\n1," + "9" * 400 + "x\n", "'loss' holds what is no number"),
        ("a," * 5000 + "a\n", "columns, at most"),
        ("\xff\xfe,b\n1,2\n".encode("latin-1"), "is not a CSV table"),
        ("", "is not a CSV table"),
        ('"a\n1,2', "is not a CSV table"),
    ],
)
def test_a_table_that_would_be_misread_is_refused(tmp_path, text, word):
    path = tmp_path / "history.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(lambda: io.read_csv(path), str(path), word)


def test_a_header_alone_is_a_table_without_rows(tmp_path):
    (tmp_path / "history.csv").write_text("epoch,loss\n")
    assert io.read_csv(tmp_path / "history.csv").shape == (0, 2)


@pytest.mark.parametrize("name", ["a\x00b.npz", "x" * 5000, "nowhere/\udcff.npz"])
def test_paths_that_are_none_are_named_in_one_line(tmp_path, name):
    path = f"{tmp_path}/{name}"
    for read in (
        io.read_npz,
        io.read_json,
        io.read_csv,
        io.sha256,
        io.first_bytes,
        io.read_tensors,
        read_study,
    ):
        refused(lambda read=read: read(path), "cannot be read")  # fmt: skip


def test_results_of_another_shape_name_the_key(tmp_path):
    path = tmp_path / "dataset.json"
    for data, word in (
        ({}, "lacks 'splits'"),
        ({"splits": []}, "splits: Input should be"),
        ({"splits": {"train": {}}}, "lacks 'splits.train.sha256'"),
        ({"splits": {"train": {"sha256": "\x1b[2J"}, "test": 7}}, "lacks 'splits.validation'"),
    ):
        io.write_json(path, data)
        refused(lambda: read_result(path, DatasetFacts), str(path), word)
    io.write_json(path, {})
    refused(lambda: read_result(path, RunRecord), "lacks 'dataset'")
    path.write_text("{}")
    refused(lambda: read_result(path, RunRecord), "lacks 'checksum'", "run again")


def test_lines_for_people_hold_nothing_for_terminals():
    assert printable("é µ ± 中 a\\b") == "é µ ± 中 a\\b"
    assert printable("a\nb\r\x1b[2J\u202e\ud800\x00") == r"a\nb\r\x1b[2J\u202e\ud800\x00"
    assert len(printable("a" * 10**6)) < 4000
    assert str(InputError("a\nb", "c\nd")) == "a\\nb\n  c\\nd"
