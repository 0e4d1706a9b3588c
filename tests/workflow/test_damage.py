"""A result that was cut short or changed after it was written is refused where it is used."""

import json
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.plan import stage_plan
from ptycho_torch.config.read import load_yaml, parse_study
from ptycho_torch.evaluate.run import evaluate_run
from ptycho_torch.files import io
from ptycho_torch.files.checksums import FILES, must_match, sums_of
from ptycho_torch.report.summarise.collect import StageFiles, collect
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.streams import named_stream
from ptycho_torch.train.fit import fit_run

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def chain(tiny_dataset, tmp_path_factory):
    """One run, trained and judged, and what reads its files."""
    folder = tmp_path_factory.mktemp("chain")
    settings = load_yaml(Path(__file__).parents[1] / "tiny.yaml")
    study = parse_study(settings, "tiny.yaml")
    data = folder / "simulate/tiny"
    shutil.copytree(tiny_dataset.folder, data)
    run, judged = (folder / kind / "tiny/control/seed-0" for kind in ("train", "evaluate"))
    names = {
        **{"run": "run.json", "timing": "timing.json", "history": "history.csv"},
        **{
            "bundle": "bundle/bundle.json",
            "last": "last.safetensors",
            "patches": "test_patches.npz",
        },
    }
    outputs = {key: run / name for key, name in names.items()}
    splits = {split: data / f"{split}.npz" for split in SPLITS}

    def train(**more):
        fit_run(run_settings(study, "tiny", "control", 0), splits=splits, dataset=data / "dataset.json",
                outputs=outputs | more, threads=1)  # fmt: skip

    def evaluate():
        evaluate_run(
            test=splits["test"], dataset=data / "dataset.json", patches=outputs["patches"],
            run=outputs["run"], settings={}, metrics=judged / "metrics.json",
            reconstruction=judged / "reconstruction.npz",
        )  # fmt: skip

    def summarise():
        collect(
            StageFiles(
                metrics=[judged / "metrics.json"], runs=[outputs["run"]],
                timings=[outputs["timing"]], histories=[outputs["history"]],
                reconstructions=[judged / "reconstruction.npz"],
                dataset=data / "dataset.json", conventional=[],
            ),
            replace(stage_plan(study, "stage_a"), arms=("control",)),
        )  # fmt: skip

    train()
    evaluate()
    summarise()
    return SimpleNamespace(
        data=data, run=run, judged=judged, train=train, evaluate=evaluate, summarise=summarise
    )


USED = {
    "train": ("data/dataset.json", *(f"data/{split}.npz" for split in SPLITS)),
    "evaluate": ("data/dataset.json", "data/test.npz", "run/run.json", "run/test_patches.npz"),
    "summarise": (
        *("data/dataset.json", "run/run.json", "run/timing.json", "run/history.csv"),
        *("judged/metrics.json", "judged/reconstruction.npz"),
    ),
}


@pytest.mark.parametrize(("verb", "used"), [(v, f) for v, files in USED.items() for f in files])
def test_a_file_that_was_cut_or_changed_by_a_byte_is_refused_by_name(chain, verb, used):
    kind, _, name = used.partition("/")
    path = getattr(chain, kind) / name
    whole = path.read_bytes()
    places = named_stream(5, verb, used).integers(0, len(whole), 4)
    broken = [whole[: len(whole) // 2], b""]
    # A blank of JSON's layout says nothing and may change.
    broken += [
        whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]
        for at in places
        if path.suffix != ".json" or not whole[at : at + 1].isspace()
    ]
    try:
        for data in broken:
            path.write_bytes(data)
            with pytest.raises(InputError) as caught:
                getattr(chain, verb)()
            said = str(caught.value)
            assert name in said and "\n" not in said
    finally:
        path.write_bytes(whole)


def test_the_error_names_file_found_expected_and_cure(tmp_path):
    table = tmp_path / "history.csv"
    table.write_text("epoch\n1\n")
    facts = {FILES: sums_of(table)}
    must_match(table, facts)
    table.write_text("epoch\n2\n")
    with pytest.raises(
        InputError, match=r"history\.csv: SHA-256 is \w{64}, expected \w{64}; .*run"
    ):
        must_match(table, facts)


def test_json_carries_a_checksum_and_that_of_other_programs_needs_none(tmp_path):
    path = tmp_path / "facts.json"
    data = {"b": [1, 0.1, None], "a": {"x": "ü"}, "3": 1}
    io.write_json(path, data)
    assert io.read_json(path) == data
    text = path.read_text()
    # Layout and order are free; a word is not.
    path.write_text(json.dumps(json.loads(text), sort_keys=True))
    assert io.read_json(path) == data
    path.write_text(text.replace("0.1", "0.2"))
    with pytest.raises(InputError, match=r"facts\.json: was changed after it was written"):
        io.read_json(path)
    with pytest.raises(InputError, match="was changed"):
        io.read_json(path, sign=False)
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"facts\.json: lacks 'checksum'.*delete it and run again"):
        io.read_json(path)
    assert io.read_json(path, sign=False) == data


CHILD = """
import sys
from dataclasses import replace
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
    """A limit on a file's size stands for the disk; as root also a disk of 64 KiB."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))

    said = refused(tmp_path, preexec_fn=limit)
    assert len(said) == 3 and all("cannot be written: File too large; make room" in s for s in said)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", ["size=64k", "ro"])
def test_a_full_or_read_only_disk_is_said(tmp_path, options):
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs root, to mount a small disk")
    try:
        said = refused(place)
        word = (
            "No space left on device; make room" if "size" in options else "Read-only file system"
        )
        assert len(said) == 3 and all(word in line for line in said)
        assert not list(place.iterdir())
    finally:
        subprocess.run(["umount", str(place)], check=True)
