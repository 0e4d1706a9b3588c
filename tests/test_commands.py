"""Every command that the documents and the summaries print is a real one: tried without being run.

Commands stand in fenced blocks without a language and in inline code. Snakemake's are planned, one
dry run for all targets of a configuration; those of ptycho-torch are parsed by the program itself.
"""

import json
import re
import shlex
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest
import typer
from snakemake.cli import get_argument_parser
from tests.commands import ROOT, snakemake
from tests.contract import record

from ptycho_torch.cli import app
from ptycho_torch.config.read import load_yaml
from snakemake_logger_plugin_ptycho import targets_first

DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "config/README.md"]
TEMPLATES = [*ROOT.glob("src/ptycho_torch/**/templates/*.j2")]
OURS = ("snakemake", "ptycho-torch", "make", "python", "bash", "pytest")
THEIRS = ("source", "git", "cd", "pip", "jupyter")
FORMAT = r"ptycho-torch (bundle|dump|scan|plan|patch statistics) \d"
FILLED = {"{{ stage.name }}": "stage_a", "{{ taken + 1 }}": "2"}
"""What templates put into commands."""


def text_of(path):
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def words_of(command):
    """Words of a command, without variables set in front and a comment behind."""
    words = shlex.split(command, comments=True)
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    return words


def found_in(path):
    """Yield (words, whether it is a whole command) of a document; a name or a part of a command
    may stand in inline code."""
    text = text_of(path)
    for placeholder, value in FILLED.items():
        text = text.replace(placeholder, value)
    fence = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
    for language, block in fence.findall(text):
        if language in ("", "bash") and not re.match(r"(results|logs)/", block):
            for line in block.replace("\\\n", " ").splitlines():
                for command in line.split(" && "):
                    yield words_of(command), True
    for code in re.findall(r"`([^`\n]+)`", fence.sub("", text)):
        if code.split()[0].rpartition("/")[2] in OURS or re.match(r"[A-Z_]+=\S+ ", code):
            if not re.fullmatch(FORMAT, code):
                yield words_of(code), False
        elif code.startswith("--"):
            yield ["--", *re.findall(r"--[a-z][\w-]*", code)], False


@cache
def commands():
    """Return all (place, words, whole) of documents and templates."""
    paths = [*DOCUMENTS, ROOT / "docs/tutorial.ipynb", *TEMPLATES]
    return [
        (str(path.relative_to(ROOT)), words, whole)
        for path in paths
        if path.name != "CHANGELOG.md"
        for words, whole in found_in(path)
        if words
    ]


def of(program):
    return [c for c in commands() if Path(c[1][0]).name == program]


def leaf(words):
    """Return the ptycho-torch command that words begin with, and the rest."""
    command = typer.main.get_command(app)
    while words and hasattr(command, "commands"):
        name, *words = words
        command = command.commands[name]
    return command, [word for word in words if word != "--quiet"]


def check_ptycho_torch(words, whole):
    command, rest = leaf(words[1:])
    if rest or whole:
        try:
            command.make_context(command.name, rest)
        except Exception as error:
            if whole or type(error).__name__ != "MissingParameter":
                raise


def check_make(words, whole):
    text = (ROOT / "Makefile").read_text()
    assert words[1:] or not whole
    for word in words[1:]:
        name, is_variable, _ = word.partition("=")
        pattern = rf"\$\({name}\)|^{name} \?=" if is_variable else rf"^{name}:"
        assert re.search(pattern, text, re.M), f"{name} is not in the Makefile"


def check_python(words, whole):
    assert words[1] in ("-c", "-m") or (ROOT / words[1]).is_file(), f"there is no {words[1]}"


def check_pytest(words, whole):
    for word in words[1:]:
        assert "/" not in word or (ROOT / word).exists(), f"there is no {word}"
    if "-m" in words:
        markers = (ROOT / "pyproject.toml").read_text()
        assert f'"{words[words.index("-m") + 1].removeprefix("not ")}: ' in markers


def check_flags(words, whole):
    ours = ", ".join(spelling for flags in record.commands().values() for spelling in flags)
    assert set(words[1:]) <= {*get_argument_parser()._option_string_actions, *ours.split(", ")}


CHECKS = {
    "ptycho-torch": check_ptycho_torch,
    "make": check_make,
    "python": check_python,
    "bash": check_python,
    "pytest": check_pytest,
    "--": check_flags,
}


@pytest.mark.parametrize("program", CHECKS)
def test_a_printed_command_is_one_that_there_is(program):
    assert of(program)
    wrong = []
    for place, words, whole in of(program):
        try:
            CHECKS[program](words, whole)
        except Exception as error:
            wrong.append(f"{place}: {shlex.join(words)}: {type(error).__name__} {error}")
    assert not wrong, "\n".join(wrong)


def test_no_line_of_a_block_and_no_template_escapes():
    """A misspelt program, or a new placeholder, would not be looked at."""
    known = (*OURS, *THEIRS, "--")
    odd = [c for c in commands() if Path(c[1][0]).name not in known or "{{" in " ".join(c[1])]
    assert not odd
    places = {place for place, _, _ in commands()}
    assert {"README.md", "docs/tutorial.ipynb", "docs/gpu.md"} <= places
    assert "src/ptycho_torch/report/templates/answer.md.j2" in places


def planned():
    """Return targets, and changes by --config, of each study that is planned: its configuration
    files and its profile."""
    found = defaultdict(lambda: (set(), set()))
    for _, words, _ in of("snakemake"):
        options = get_argument_parser().parse_args(targets_first(words[1:]))
        if options.targets or "-n" in words:
            profile = [options.workflow_profile] * bool(options.workflow_profile)
            given = {"--configfile": options.configfile, "--workflow-profile": profile}
            study = [w for name, values in given.items() if values for w in (name, *values)]
            targets, changes = found[tuple(map(str, study))]
            targets.update(options.targets)
            changes.update(options.config or ())
    return found


def test_every_snakemake_command_is_planned(tmp_path):
    """A dry run for each study, of all its targets and changes together."""
    # A target without --cores plans, but ends in an error unless the profile has them.
    assert "cores" in load_yaml(ROOT / "profiles/default/profile.yaml")
    assert len(planned()) < 8  # Each takes seconds.
    for study, (targets, changes) in planned().items():
        changed = ["--config", *changes] if changes else []
        snakemake(tmp_path, *sorted(targets), *study, *changed, "-n", "--quiet")
