"""What is written twice, or promised, is compared: import arrows, sizes, links, pinned
versions with their checksums."""

import ast
import re
import tomllib

import pytest
from tests.commands import ROOT

PACKAGE = ROOT / "src" / "ptycho_torch"

# A room may import these, `runtime` and itself.
ARROWS = {
    "runtime": set(),
    "config": set(),
    "files": {"config"},
    "physics": {"config"},
    "data": {"config", "files", "physics"},
    "simulate": {"config", "files", "physics", "data"},
    "networks": {"config", "files"},
    "train": {"config", "files", "physics", "data", "networks"},
    "reconstruct": {"config", "files", "physics", "data"},
    "infer": {"config", "files", "physics", "data", "networks"},
    "evaluate": {"config", "files", "physics", "data"},
    "statistics": {"config"},
    "report": {"config", "files", "statistics"},
    "diagnose": {"config", "files", "physics", "data", "networks", "statistics"},
}
ARROWS["cli"] = set(ARROWS)


@pytest.mark.parametrize("folder", ARROWS)
def test_imports_point_one_way(folder):
    imported = re.compile(r"^\s*(?:from|import) ptycho_torch\.(\w+)", re.M)
    for path in (PACKAGE / folder).rglob("*.py"):
        rooms = {*imported.findall(path.read_text(encoding="utf-8"))} & set(ARROWS)
        assert rooms <= {*ARROWS[folder], folder, "runtime"}, path
    folders = {p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert folders == set(ARROWS)


def test_files_and_functions_keep_their_sizes():
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "workflow").rglob("*.py")]:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 300, path
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                size = (body[-1].end_lineno - body[0].lineno + 1) if body else 0
                assert size <= 50, f"{path}: {node.name} has {size} lines"
                assert len(node.args.args) <= 6, f"{path}: {node.name}"


def test_links_in_the_documents_lead_somewhere():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("docs/*.ipynb")]
    for path in [*pages, ROOT / "config/README.md"]:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path}: {target}"


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
