"""The campaign of `make fuzz` in short, and that it finds what a broken reader does."""

import mmap
import subprocess
import sys
import time
from pathlib import Path

import pytest

COUNT = 200


def test_no_reader_breaks_a_law_on_hundreds_of_damaged_files(root):
    """Exit status 0: every case gave a value as promised, or one printable line."""
    done = subprocess.run(
        [sys.executable, "tests/campaigns/fuzz.py", "--count", str(COUNT), "--seed", "short"],
        cwd=root, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("cases, 0 broken laws")


def test_cases_come_again_by_seed_and_number(campaign):
    import random

    damage = campaign("fuzz_mutate")
    good = bytes(range(256)) * 4
    for number in range(50):
        one, again = (damage.mutate(good, random.Random(f"a/b/{number}")) for _ in range(2))
        assert one == again
    damaged = {damage.mutate(good, random.Random(f"a/b/{number}")) for number in range(50)}
    assert len(damaged) > 40


def crash(folder):
    raise KeyError("not for users")


def leak(folder):
    Path("/etc/hostname").read_bytes()


def hang(folder):
    time.sleep(60)


def leave(folder):
    import os

    os._exit(7)


def grow(folder):
    """New pages of the system's: what the process had freed does not count, nor a peak of before."""
    with mmap.mmap(-1, 450 * 2**20) as pages:
        for place in range(0, len(pages), mmap.PAGESIZE):
            pages[place] = 1


@pytest.mark.parametrize(
    ("read", "law"),
    [
        (crash, "KeyError"),
        (leak, "opened /etc/hostname"),
        (hang, "took more than"),
        (leave, "the process ended with 7"),
        (grow, "took 4"),
    ],
)
def test_the_campaign_sees_each_law_broken(campaign, monkeypatch, read, law):
    """A reader is good on its good files and then breaks a law on every damaged one."""
    fuzz, readers, tables = (campaign(f"fuzz{n}") for n in ("", "_readers", "_tables"))
    asked = []

    def reads(folder):
        asked.append(1)
        return read(folder) if len(asked) > 1 else None

    target = tables.Target("npz", lambda folder: (folder / "a").write_bytes(b"abcd"), reads)
    monkeypatch.setitem(readers.TARGETS, "npz", target)
    monkeypatch.setattr(fuzz, "SECONDS", 0.3 if read is hang else 60)
    _, broken = fuzz.run_target("npz", "short", 1, 2)
    assert [number for number, _ in broken] == ([1, 2] if read is not grow else [1])
    assert all(law in what for _, what in broken), broken
