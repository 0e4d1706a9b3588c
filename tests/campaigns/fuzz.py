"""Fuzz every reader with damaged and hostile files: `make fuzz`, or this file with --help.

Each case is a named seed and a number, so that a finding comes again: `--target cxi --first 123
--count 1 --show`. A worker process reads the cases of a target; the parent ends it where a case takes
too long and goes on behind it. Broken laws are listed by case:

- anything raised but `InputError`, or one that is not one printable line
- a returned value that is not what the reader promises
- a case of more than 10 s, or memory beyond 300 MiB for files of kilobytes
- a file opened outside the case's folder, a process, a connection, anything unpickled
"""

import argparse
import contextlib
import json
import mmap
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

SECONDS, MEMORY_MIB, ADDRESS_GIB = 10, 300, 3
FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "socket.connect", "os.remove")
FORBIDDEN += (
    "pickle.find_class",
    "os.rename",
    "os.mkdir",
    "os.symlink",
    "os.link",
    "shutil.rmtree",
)


class Guard:
    """Watches what a reader touches, by Python's audit events; armed during a case."""

    def __init__(self) -> None:
        self.allowed: str | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.allowed is None:
            return
        if event == "open" and isinstance(arguments[0], str | bytes):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            known = (self.allowed, sys.prefix, sys.base_prefix, "/proc", "/usr", "/dev", ROOT)
            write = isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if not path.startswith(known) or (write and not path.startswith(self.allowed)):
                self.seen.append(f"opened {path}")
        elif event in FORBIDDEN:
            paths = [os.path.realpath(a) for a in arguments if isinstance(a, str | os.PathLike)]
            if not paths or not all(path.startswith(self.allowed) for path in paths):
                self.seen.append(f"{event} {arguments}")


ROOT = str(Path(__file__).resolve().parents[2])


def read_case(target: Any, good: dict[Path, bytes], place: Path, rng: random.Random) -> str | None:
    """Write one case into a fresh folder, read it; return what broke, or None."""
    from fuzz_readers import one_line

    from ptycho_torch.runtime.errors import InputError

    folder = place / "case"
    chosen = rng.choice(sorted(good))
    other = good[rng.choice(sorted(good))]
    for path, data in good.items():
        if not (file := folder / path).exists() or path == chosen or CHANGED.get(folder) == path:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(target.damage(path, data, rng, other) if path == chosen else data)
    CHANGED[folder] = chosen
    # What is too broken to be signed is read as it is.
    with contextlib.suppress(ValueError, TypeError, AttributeError, RecursionError):
        target.after(folder)
    return attempt(target.read, folder, one_line, InputError)


CHANGED: dict[Path, Path] = {}


def attempt(read: Any, folder: Path, one_line: Any, refused: type[Exception]) -> str | None:
    """Return which law a reader breaks on a folder, or None."""
    GUARD.seen, GUARD.allowed = [], str(folder.parent)
    try:
        read(folder)
    except refused as error:
        GUARD.allowed = None
        try:
            one_line(error)
        except AssertionError as broken:
            return f"{broken}"
    except BaseException as error:
        GUARD.allowed = None
        last = traceback.extract_tb(error.__traceback__)[-1]
        ours = [f for f in traceback.extract_tb(error.__traceback__) if "/src/ptycho" in f.filename]
        at = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
        return f"{type(error).__name__}: {error} ({at}, {Path(last.filename).name}:{last.lineno})"
    finally:
        GUARD.allowed = None
    return "; ".join(GUARD.seen) or None


GUARD: Guard


def work(name: str, seed: str, first: int, count: int, shared: Any, out: Any) -> None:
    """Read cases first .. first + count of a target; say each broken law, then the end."""
    global GUARD
    from fuzz_readers import TARGETS

    from ptycho_torch.files import hdf5_screen as io_probe

    logging_off()
    # A process that is to read no further than a few kilobytes needs no more.
    io_probe.SECONDS = 0.5
    target = TARGETS[name]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        place = Path(folder)
        (place / "good").mkdir()
        target.write(place / "good")
        good = {
            path.relative_to(place / "good"): path.read_bytes()
            for path in sorted((place / "good").rglob("*"))
            if path.is_file()
        }
        target.read(place / "good")  # The good files are read, and slow imports are done.
        GUARD = Guard()
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + ADDRESS_GIB * 2**30,) * 2)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        refused = 0
        for number in range(first, first + count):
            shared[0:8] = number.to_bytes(8, "little")
            broken = read_case(target, good, place, random.Random(f"{seed}/{name}/{number}"))
            top = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            if top - peak > MEMORY_MIB * 1024:
                broken = f"took {(top - peak) // 1024} MiB; {broken or ''}"
                peak = top
            if broken:
                out.put((name, number, broken))
            refused += 1
        shared[0:8] = (2**64 - 1).to_bytes(8, "little")
        out.put((name, None, refused))


def logging_off() -> None:
    import logging
    import warnings

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")


def run_target(name: str, seed: str, first: int, count: int) -> tuple[int, list[tuple[int, str]]]:
    """Return how many cases were read, and (number, broken law) of those that broke one."""
    context = multiprocessing.get_context("fork")
    out, broken = context.SimpleQueue(), []
    end = first + count
    while first < end:
        shared = mmap.mmap(-1, 8)
        job = context.Process(target=work, args=(name, seed, first, end - first, shared, out))
        job.start()
        last, since, stopped = -1, time.monotonic(), None
        while job.is_alive():
            job.join(0.2)
            while not out.empty():
                _, number, what = out.get()
                if number is not None:
                    broken.append((number, str(what)))
            number = int.from_bytes(shared[0:8], "little")
            if number != last:
                last, since = number, time.monotonic()
            elif time.monotonic() - since > SECONDS * (1 if number else 6):
                stopped = f"took more than {SECONDS} s"
                job.kill()
                job.join()
        while not out.empty():
            _, number, what = out.get()
            if number is not None:
                broken.append((number, str(what)))
        number = int.from_bytes(shared[0:8], "little")
        if number == 2**64 - 1:
            break
        broken.append((number, stopped or f"the process ended with {job.exitcode}"))
        first = number + 1
        if len(broken) > 1000:
            break
    return count, broken


def shares(total: int, names: list[str]) -> dict[str, int]:
    """Return how many cases each target gets."""
    from fuzz_readers import TARGETS

    whole = sum(TARGETS[name].share for name in names)
    return {name: max(1, round(total * TARGETS[name].share / whole)) for name in names}


def main() -> int:
    from fuzz_readers import TARGETS

    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--count", type=int, default=210_000, help="cases in all")
    options.add_argument("--seed", default="readers", help="name of the stream of cases")
    options.add_argument("--first", type=int, default=0, help="number of the first case")
    options.add_argument("--target", choices=list(TARGETS), action="append", help="only these")
    options.add_argument("--output", type=Path, help="where to write the result, JSON")
    given = options.parse_args()
    found: dict[str, Any] = {}
    for name, count in shares(given.count, given.target or list(TARGETS)).items():
        began, cpu = time.monotonic(), os.times()
        read, broken = run_target(name, given.seed, given.first, count)
        used = os.times()
        spent = used.children_user + used.children_system - cpu.children_user - cpu.children_system
        found[name] = {
            "cases": read, "broken": broken, "wall_s": round(time.monotonic() - began, 1),
            "cpu_s": round(spent, 1),
        }  # fmt: skip
        print(f"{name:12} {read:7} cases, {len(broken)} broken laws, {spent:.1f} s CPU", flush=True)
        for what, group in by_kind(broken).items():
            print(f"    {len(group):5} x {what[:220]}   (case {group[0]})", flush=True)
    if given.output:
        given.output.parent.mkdir(parents=True, exist_ok=True)
        given.output.write_text(json.dumps({"seed": given.seed, "targets": found}, indent=1))
    total, bad = (
        sum(f(x) for x in found.values())
        for f in (lambda x: x["cases"], lambda x: len(x["broken"]))
    )
    print(f"{total} cases, {bad} broken laws")
    return 1 if bad else 0


def by_kind(broken: list[tuple[int, str]]) -> dict[str, list[int]]:
    """Return broken laws that differ in their place, with their cases."""
    import re

    groups: dict[str, dict[str, Any]] = {}
    for number, what in broken:
        place = re.findall(r"\(([^()]*:\d+[^()]*)\)$", what)
        key = what.split(":")[0] + (place[0] if place else what[:30])
        groups.setdefault(key, {"what": what, "cases": []})["cases"].append(number)
    return {group["what"]: group["cases"] for group in groups.values()}


if __name__ == "__main__":
    sys.exit(main())
