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
from side_by_side import FOLDER, Goal, table

from ptycho_torch.runtime.markdown import number

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


def places(page: str) -> list[str]:
    """Return the names of the marks on a page."""
    return [found.group(2) for found in _SECTION.finditer(page)]


def written(page: str, results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page with its sections made anew; what was not measured stands empty.

    Raises
    ------
    ValueError
        If a result, or the goals, have no marks on the page.
    """
    if missing := sorted({*results, "goals"} - set(places(page))):
        raise ValueError(f"{PAGE.name} has no pair of marks for {', '.join(missing)}")
    texts = {name: section(name, result) for name, result in results.items()}
    texts["goals"] = goals(results)

    def fill(found: re.Match[str]) -> str:
        begin, name, end = found.groups()
        return f"{begin}{texts[name]}\n{end}" if name in texts else f"{begin}{end}"

    return _SECTION.sub(fill, page)


def main() -> None:
    """Take new results if asked, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--take", action="store_true", help=f"first copy what lies in {FOLDER}")
    if parser.parse_args().take:
        QUOTED.mkdir(exist_ok=True)
        for name in set(places(PAGE.read_text(encoding="utf-8"))) & set(read(FOLDER)):
            shutil.copy(FOLDER / f"{name}.json", QUOTED)
    page, results = PAGE.read_text(encoding="utf-8"), read(QUOTED)
    try:
        page = written(page, results)
    except ValueError as error:
        sys.exit(f"bench-report: {error}")
    PAGE.write_text(page, encoding="utf-8")
    empty = [name for name in places(page) if name not in {*results, "goals"}]
    print(f"wrote {PAGE.relative_to(ROOT)}; not measured: {', '.join(empty) or 'nothing'}")


if __name__ == "__main__":
    main()
