"""What a user of this checkout relies on, as plain data: commands, targets, results of a study.

    python tests/contract/record.py --write      # runs the tiny study and renews contract.json

Without --write the record is printed. Keys of a study are in config/schema.json. Names in <> stand
for several, <run> for a training's dataset, arm and seed; a key that only some of such files have
ends in "?". Left out: prose, durations, memory, versions.
"""

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = Path(__file__).with_name("contract.json")
KINDS = (
    (r"^(train|evaluate)/[^/]+/[^/]+/seed-\d+/", r"\1/<run>/"),
    (r"^(stage_a|stress|stage_b|pivot|ratios)/", "<stage>/"),
    (r"^parity/(training|inference)/", "parity/<side>/"),
    (r"^diagnose/tiny/(fresh|trained)/", "diagnose/<state>/"),
)
UNSTABLE = re.compile(
    r"(^|\.)(wall_s|inference_s|samples_per_s|peak_memory_mib|seconds|commit|command|python"
    r"|platform|versions|torch|ptycho_torch|\w*sha256|checksum|files)(\.|\[|$)"
)
"""Keys of what differs from one undisturbed run to the next, or says where it was made."""
DIGEST_ONLY = re.compile(
    r" (\S+\.)?(settings|blocks|layers|patch_statistics|thresholds|baselines|data)(\.|\[)"
    r"|flagged|_q[13]$|\[\]\.network\.|truth\S*psnr|^evaluate\S* (constant|truth)\."
    r"|^<stage>/(runs|history)|^study/history|/(study|timing)\.json| frc\."
)
"""`file key` of numbers not listed: details, copies, noise, and decibels of a rounding error."""
WORD = re.compile(r"[a-z\d]\S*|True|False")
"""What of a text is compared: a name or a state; a sentence, of one word too, is not."""


def commands() -> dict[str, dict[str, str]]:
    """Return arguments and flags of every command, all spellings, by the command's name."""
    import typer

    from ptycho_torch.cli import app

    def spelling(part: Any) -> str:
        words = [part.name.upper()] if part.param_type_name == "argument" else part.opts
        return ", ".join([*words, *part.secondary_opts])

    def meaning(part: Any) -> str:
        # Newer typers have no click beneath: parameters hold annotations, not types.
        choices = getattr(getattr(part, "type", None), "choices", ())
        annotation = str(getattr(getattr(part, "type_descriptor", None), "annotation", ""))
        if "Literal[" in annotation:
            choices = re.findall(r"'([^']+)'", annotation)
        kind = part.metavar or "|".join(map(str, choices)) or "value"
        words = ["flag" if getattr(part, "is_flag", False) else kind]
        words += ["several"] * (part.multiple or part.nargs != 1) + ["required"] * part.required
        plain = isinstance(part.default, (str, int, float)) and part.default is not False
        return ", ".join([*words, *([f"default {part.default}"] if plain else [])])

    def walk(command: Any, name: str) -> Iterator[tuple[str, dict[str, str]]]:
        parts = [part for part in command.params if part.name != "help"]
        yield name, {spelling(part): meaning(part) for part in parts}
        for word, below in getattr(command, "commands", {}).items():
            yield from walk(below, f"{name} {word}")

    return dict(walk(typer.main.get_command(app), "ptycho-torch"))


def targets() -> dict[str, list[str]]:
    """Return targets and variables of make, and targets and rules of Snakemake by the study."""
    text = (ROOT / "Makefile").read_text()
    found = {
        "make": re.findall(r"^([a-z][a-z-]*):(?!=)", text, re.MULTILINE),
        "make's variables": re.findall(r"^([A-Z]\w*) \?=", text, re.MULTILINE),
    }
    with tempfile.TemporaryDirectory() as folder:
        for what, study in (("target-rules", "config.yaml"), ("rules", "full.yaml")):
            said = snakemake(Path(folder), f"--list-{what}", "--configfile", f"config/{study}")
            # The first line names the profile.
            found[f"{what} of {study}"] = [line.split()[0] for line in said.splitlines()[1:]]
    return {name: sorted(set(words)) for name, words in found.items()}


def snakemake(folder: Path, *words: str, status: int = 0, **environment: str) -> str:
    """Run this checkout's snakemake with results in a folder; it must end with this status. Return
    what it printed."""
    binary = Path(sys.executable).parent
    paths = {"PATH": f"{binary}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [binary / "snakemake", *words, "--directory", folder], cwd=ROOT, check=False,
        env=os.environ | paths | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        encoding="utf-8", timeout=1800,
    )  # fmt: skip
    assert done.returncode == status, done.stdout
    return done.stdout


def record_results(results: Path) -> dict[str, Any]:
    """Return the sections of a finished tiny study: files, keys, arrays, numbers, digests."""
    paths = sorted(
        p.relative_to(results).as_posix() for p in results.rglob("[!.]*.*") if p.is_file()
    )
    kinds: dict[str, list[str]] = {}
    for path in paths:
        kind = path
        for pattern, instead in KINDS:
            kind = re.sub(pattern, instead, kind)
        kinds.setdefault(kind, []).append(path)
    arms = {name.split("/")[2] for name in paths if name.startswith("train/")}
    found: dict[str, Any] = {"files": paths, "keys": {}, "arrays": {}, "numbers": {}, "digests": {}}
    for kind, names in kinds.items():
        if kind.endswith((".npz", ".safetensors")):
            files = [read_arrays(results / name) for name in names]
            shapes = [{f"{k} {a.dtype}{list(a.shape)}": a for k, a in f.items()} for f in files]
            found["arrays"][kind] = keys_of(shapes)
            digests = [digest(array.tobytes() for array in file.values()) for file in files]
        elif kind.endswith((".json", ".csv")):
            tables = [read_table(results / name, arms) for name in names]
            found["keys"][kind] = list(dict.fromkeys(shorten(key, kind) for key in keys_of(tables)))
            tables = [{k: v for k, v in t.items() if not UNSTABLE.search(k)} for t in tables]
            found["numbers"][kind] = numbers(tables, kind)
            measured = [[v for k in t if "settings." not in k for v in t[k]] for t in tables]
            digests = [
                digest(repr(v).encode() for v in values if isinstance(v, float) and v % 1)
                for values in measured
            ]
        else:
            continue
        found["digests"] |= dict(zip(names, digests, strict=True))
    for section in ("numbers", "digests"):
        found[section] = {name: value for name, value in found[section].items() if value}
    found["digests"] = {"platform": this_platform(), **found["digests"]}
    return found


def shorten(key: str, kind: str) -> str:
    """Return a key without what follows from the settings."""
    if kind.endswith("study.json") and not key.startswith("provenance"):
        return re.split(r"[.\[]", key)[0]
    return re.sub(r"(^|\.)(settings|versions|undefined)\..*", r"\1\2.*", key)


def numbers(files: list[dict[str, list[Any]]], kind: str) -> dict[str, list[Any]]:
    """Return numbers, truth values and single words by key, file by file; nine digits of each."""
    found: dict[str, list[Any]] = {}
    for key in keys_of(files):
        if not DIGEST_ONLY.search(f"{kind} {key}"):
            values = [value for file in files for value in file.get(key.strip("?"), [])]
            values = [v for v in values if not isinstance(v, str) or WORD.fullmatch(v)]
            values = [v for v in values if v not in (None, [], {})]
            found[key] = [float(f"{v:.9g}") if isinstance(v, float) else v for v in values]
    return {key: values for key, values in found.items() if values}


def keys_of(files: list[dict[str, Any]]) -> list[str]:
    """Return the keys of several files in order; those that some lack end in a question mark."""
    every = sorted({key for file in files for key in file})
    return [key if all(key in file for file in files) else f"{key}?" for key in every]


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an NPZ or safetensors file, without texts."""
    from safetensors.numpy import load_file

    file = np.load(path) if path.suffix == ".npz" else load_file(path)
    return {name: file[name] for name in file if file[name].dtype.kind != "U"}


def read_table(path: Path, arms: set[str]) -> dict[str, list[Any]]:
    """Return values by a CSV's columns, or a JSON file's dotted keys; [] is any item of a list."""
    found: dict[str, list[Any]] = {}

    def walk(value: Any, name: str) -> None:
        if isinstance(value, dict) and value:
            for key, below in value.items():
                word = "<arm>" if key in arms else "<n>" if key.isdigit() else key
                walk(below, f"{name}.{word}" if name else word)
        elif isinstance(value, list) and value:
            for below in value:
                walk(below, f"{name}[]")
        else:
            found.setdefault(name, []).append(value)

    if path.suffix == ".json":
        walk(json.loads(path.read_text()), "")
    else:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                for name, text in row.items():
                    number = re.fullmatch(r"-?\d+(\.\d*)?(e[-+]\d+)?", text)
                    found.setdefault(name, []).append(float(text) if number else text)
    return found


def digest(values: Iterable[bytes]) -> str | None:
    """Return the start of the SHA-256 of distinct values, whatever their names and order."""
    distinct = sorted({hashlib.sha256(value).hexdigest() for value in values})
    return hashlib.sha256("".join(distinct).encode()).hexdigest()[:16] if distinct else None


def this_platform() -> dict[str, str]:
    """Return what the last digits of a result depend on."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = ("vendor_id", "cpu family", "model", "model name")
    cpu = [re.search(rf"^{name}\s*: (.*)$", info, re.MULTILINE) for name in names]
    vectors = [flag for flag in ("avx2", "avx512f") if f" {flag} " in info]
    packages = ("torch", "numpy", "scipy", "scikit-image", "pandas")
    return {
        "cpu": ", ".join([*(match[1] for match in cpu if match), *vectors]),
        **{name: metadata.version(name) for name in packages},
    }


def text_of(value: Any, indent: str = "") -> str:
    """Return JSON with a key a line, and lists in lines of up to 110 characters."""
    deeper = indent + " "
    if isinstance(value, dict) and value:
        lines = [f"{deeper}{json.dumps(k)}: {text_of(v, deeper)}" for k, v in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if not isinstance(value, list) or len(json.dumps(value)) < 80:
        return json.dumps(value)
    lines = [deeper]
    for item in map(json.dumps, value):
        if len(lines[-1]) + len(item) > 108:
            lines.append(deeper)
        lines[-1] += f"{item}, "
    return "[\n" + "\n".join(line.rstrip() for line in lines).rstrip(",") + f"\n{indent}]"


def main() -> None:
    """Record the checkout this file stands in."""
    sys.path.insert(0, str(ROOT / "src"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        snakemake(folder, "all", "parity", "--configfile", "tests/tiny.yaml", "--cores=2")
        found = {"commands": commands(), "targets": targets(), **record_results(folder / "results")}
    (CONTRACT if "--write" in sys.argv else Path("/dev/stdout")).write_text(text_of(found) + "\n")


if __name__ == "__main__":
    main()
