"""Put measured numbers into docs/performance.md: `make bench-report`.

The results that are quoted lie in docs/performance/<name>.json; with `--take` those of the last
`make bench` replace them first. Between `<!-- NAME: begin -->` and `<!-- NAME: end -->` stands
what the benchmark's `tables` makes of its JSON, between the marks of `goals` what was asked and
reached; no number there is typed by hand.
"""

import argparse
import importlib
import json
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from run import NAMES
from side_by_side import FOLDER, Goal

from ptycho_torch.markdown import number, table

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
QUOTED = ROOT / "docs" / "performance"
_SECTION = re.compile(r"(<!-- (\w+): begin -->\n).*?(<!-- \2: end -->)", re.DOTALL)


def module(name: str) -> ModuleType:
    """Return a benchmark's module."""
    return importlib.import_module(name)


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the results in a folder by name, in the order in which benchmarks run."""
    paths = {name: folder / f"{name}.json" for name in NAMES}
    return {n: json.loads(p.read_text(encoding="utf-8")) for n, p in paths.items() if p.exists()}


def conditions(result: Mapping[str, Any]) -> str:
    """Return in one line on what and when a result was measured."""
    machine = result["machine"]
    versions = ", ".join(
        f"{name} {found}" for name, found in machine["versions"].items() if found != "not installed"
    )
    threads = machine.get("torch_threads")
    parts = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['gpu'] or 'no GPU'}",
        *([f"torch on {threads} threads"] if threads else []),
        f"load {number(machine['load_average'], 2)} at the start",
        f"{machine['date']}, commit {machine['commit'][:10]}"
        + (" with changes" if "uncommitted" in machine["commit"] else ""),
        f"Python {machine['python']}, {versions}",
    ]
    return f"*{'; '.join(parts)}.*"


def section(name: str, result: Mapping[str, Any]) -> str:
    """Return what stands between a benchmark's marks."""
    return f"{module(name).tables(result).strip()}\n\n{conditions(result)}"


def goals(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table of what was asked and what was reached."""
    found: list[Goal] = []
    for name, result in results.items():
        found += module(name).goals(result) if hasattr(module(name), "goals") else []
    rows = [[goal.what, goal.asked, goal.reached, "yes" if goal.met else "no"] for goal in found]
    return table(["goal", "asked", "reached", "met"], rows)


def written(page: str, results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page with its sections made anew.

    Raises
    ------
    ValueError
        If the page has marks without a result, or a result no marks.
    """
    places = [found.group(2) for found in _SECTION.finditer(page)]
    if sorted(places) != sorted([*results, "goals"]):
        raise ValueError(
            f"{PAGE.name} has marks for {', '.join(places) or 'nothing'}, "
            f"docs/{QUOTED.name}/ holds {', '.join(results) or 'nothing'}; each result needs one "
            "pair of marks and each pair but that of 'goals' a result"
        )
    texts = {name: section(name, result) for name, result in results.items()}
    texts["goals"] = goals(results)
    return _SECTION.sub(lambda m: f"{m.group(1)}{texts[m.group(2)]}\n{m.group(3)}", page)


def main() -> None:
    """Take new results if asked, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--take", action="store_true", help=f"first copy what lies in {FOLDER}")
    if parser.parse_args().take:
        QUOTED.mkdir(exist_ok=True)
        for name in read(FOLDER):
            shutil.copy(FOLDER / f"{name}.json", QUOTED)
    try:
        page = written(PAGE.read_text(encoding="utf-8"), read(QUOTED))
    except ValueError as error:
        sys.exit(f"bench-report: {error}")
    PAGE.write_text(page, encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
