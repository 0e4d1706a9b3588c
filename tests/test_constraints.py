"""What is pinned, with which checksums, and what the oldest set holds, agree with each other."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PINNED = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+)", re.M)


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    return {normal(package): version for package, version in PINNED.findall(text)}


def test_every_pinned_package_has_checksums_and_no_other_is_there():
    tested, hashed = pinned("constraints.txt"), pinned("constraints-hashed.txt")
    # Without a GPU's libraries, which torch's ordinary build cannot do without.
    assert hashed == {**tested, "torch": f"{tested['torch']}+cpu"}
    text = (ROOT / "constraints-hashed.txt").read_text(encoding="utf-8")
    block = r"\S+==\S+( \\\n    --hash=sha256:[0-9a-f]{64})+\n"
    assert re.fullmatch(rf"(#.*\n|{block})*", text)


def test_the_oldest_set_is_what_the_package_admits():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    least = {}
    for text in project["dependencies"]:
        name, version = re.match(r"([A-Za-z0-9_-]+)(?:\[\w+\])?>=([\d.]+)", text).groups()
        least[normal(name)] = re.sub(r"(\.0)*$", "", version)
    oldest = pinned("constraints-oldest.txt")
    assert {name: re.sub(r"(\.0)*$", "", v) for name, v in oldest.items()} == least
