"""What an edit makes again: the lists of code against the imports, and docs/reference/reruns.md."""

import ast
import re
from pathlib import Path

import pytest

from ptycho_torch.runtime.code_digest import code_behind

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "ptycho_torch"
SCRIPTS = sorted((ROOT / "workflow" / "scripts").glob("*.py"))


def imported(path, known):
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import is on no list of code"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    every = {".".join(name.split(".")[:n]) for name in names for n in range(1, name.count(".") + 2)}
    return {known[name] for name in every & set(known)}


@pytest.fixture(scope="module")
def parsed():
    """What each file of the package imports directly, as Python's own parser sees it."""
    known = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        known[".".join(parts).removesuffix(".__init__")] = path
    return {path: imported(path, known) for path in (*known.values(), *SCRIPTS)}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_list_holds_what_its_script_imports_and_nothing_else(script, parsed):
    reached, waiting = set(), [script]
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            waiting += parsed[path]
    listed = code_behind(script, PACKAGE)
    assert listed[0] == script and len(set(listed)) == len(listed)
    assert {path for path in listed if path.suffix == ".py"} == reached


def test_nothing_is_imported_by_a_name_that_is_made_while_running():
    for path in (*PACKAGE.rglob("*.py"), *SCRIPTS):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"import_module\(|__import__\(|\brunpy|\bexec\(", text), path


def test_templates_are_on_the_lists_of_the_rooms_that_render_them():
    lists = {script.stem: code_behind(script, PACKAGE) for script in SCRIPTS}
    for template in PACKAGE.rglob("templates/*"):
        by = {name for name, files in lists.items() if template in files}
        assert not by & {"simulate", "train", "evaluate"}, template
        # That of the command `plan` belongs to no rule.
        assert by or template.name == "plan.md.j2", template


@pytest.fixture(scope="module")
def reruns(load):
    return load("docs/reference/reruns.py")


def test_every_job_reads_the_list_of_its_own_script(reruns, tmp_path):
    jobs = reruns.plan(reruns.study(), tmp_path)
    # A study without planned looks has no `look`.
    scripts = {Path(job.script).stem for job in jobs.values()} | {"look"}
    assert scripts == {path.stem for path in SCRIPTS}
    for name, job in jobs.items():
        lists = [path for path in job.inputs if re.match(r"results/sources/.*\.txt", path)]
        assert lists == [f"results/sources/{Path(job.script).stem}.txt"], name


def test_the_table_of_reruns_is_what_is_planned(reruns):
    written = (ROOT / "docs/reference/reruns.md").read_text(encoding="utf-8")
    assert written == reruns.text(), "run `make docs`, and read what changed"
