"""The tiny study, run once for all tests: what it leaves, says and publishes, what reruns after which
change, and that its pages open."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.commands import CONFIG, ROOT, SURROUNDINGS, tiny_snakemake


@pytest.fixture(scope="module")
def study(tiny_run):
    return tiny_run.folder


@pytest.fixture
def planned(study, tmp_path, config_file):
    """What Stage A would make again after a change of the configuration, one line a rule and arm."""

    def plan(change=None):
        config, folder = CONFIG, study
        if change is not None:
            # A copy: a dry run of another study leaves its plan beside the results.
            config, folder = config_file(change), tmp_path / "copy"
            for part in ("results", ".snakemake"):
                shutil.copytree(study / part, folder / part, dirs_exist_ok=True)
        messages = tiny_snakemake(folder, "stage_a_summary", "-n", config=config)
        lines = re.findall(
            r"^((?:simulate|train|evaluate|stage_a_summary)\b.*?) {2,}(?![\d ]+$)", messages, re.M
        )
        parts = (line.replace(", ", ",").partition(" ") for line in lines)
        return sorted(f"{r} {rest}".strip() for rules, _, rest in parts for r in rules.split(","))

    return plan


def test_every_stage_has_its_summary_and_figures_and_nothing_is_decided(study):
    """Which runs were trained, each once: tests/contract."""
    for stage in ("stage_a", "stress", "stage_b", "pivot", "ratios", "study"):
        text = (study / "results" / stage / "summary.md").read_text()
        for figure in re.findall(r"\]\((\S+\.(?:png|svg))\)", text):
            assert (study / "results" / stage / figure).stat().st_size > 5000, (stage, figure)
    text = (study / "results/study/decision.md").read_text()
    assert text.startswith("# Undecided") and "What would change it" in text


def test_no_network_was_asked_for_and_nothing_published_says_who_ran_it_or_where(study, tmp_path):
    """All of results/ may be handed on: pages, pictures, tables, bundles, arrays."""
    requested = study / "network.log"
    assert not requested.exists(), requested.read_text()
    names = [SURROUNDINGS[name] for name in ("USER", "HOSTNAME")]
    words = [*names, str(study), str(ROOT), str(Path.home()) + "/", "/tmp/", "file://"]
    files = [path for path in (study / "results").rglob("*") if path.is_file()]
    assert len(files) > 150
    for path in files:
        content = path.read_bytes()
        assert not [w for w in words if w.encode() in content], path
    # Or the above would prove nothing: the guard sees what turns to the network, and gives names.
    ask = "import socket as s; print(s.gethostname()); s.create_connection(('127.0.0.1', 9))"
    environment = os.environ | SURROUNDINGS | {"NETWORK_LOG": str(tmp_path / "log")}
    done = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True)
    assert done.returncode != 0 and names[1] in done.stdout.decode()
    assert "127.0.0.1" in (tmp_path / "log").read_text()


def test_a_second_call_has_nothing_to_do_and_a_lost_winner_trains_nothing(study):
    assert "Nothing to be done" in tiny_snakemake(study, "all", "-n")
    winner = study / "results/stage_a/winner.json"
    content = winner.read_bytes()
    winner.unlink()
    try:
        assert "train" not in tiny_snakemake(study, "all", "-n")
    finally:
        winner.write_bytes(content)


def test_an_edit_makes_what_depends_on_it_and_seeds_after_a_summary_are_noted(planned, tmp_path):
    """The next summary says so; another study begins anew. Each edit by itself:
    docs/reference/reruns.md, which is compared with what the rules say."""

    def looks():
        kept = tmp_path / "copy/results/sources/stage_a.plan"
        return json.loads(kept.read_text())["looked"]

    def seeds(settings):
        settings["stage_a"]["seeds"] = 2

    def seeds_and_bound(settings):
        seeds(settings)
        settings["arms"]["agc"]["execution"]["clip"]["max_ratio"] = 0.02

    second = ["evaluate tiny/agc seed 1", "evaluate tiny/control seed 1", "stage_a_summary",
              "train tiny/agc seed 1", "train tiny/control seed 1"]  # fmt: skip
    assert planned(seeds) == second and looks() == [1]
    first = ["evaluate tiny/agc seed 0", "train tiny/agc seed 0"]
    assert planned(seeds_and_bound) == sorted(first + second) and looks() == []


@pytest.mark.parametrize("how", ["copied", "touched", "by date alone"])
def test_results_of_other_settings_are_never_up_to_date(study, tmp_path, config_file, how):
    """Whatever Snakemake knows of them, the summary is collected again, and refused."""
    folder = tmp_path / "other"
    config = config_file(lambda study: study["training"]["optimizer"].update(learning_rate=1e-3))
    shutil.copytree(study / "results", folder / "results")  # With its dates.
    if how != "copied":
        shutil.copytree(study / ".snakemake", folder / ".snakemake")
    more = ("--rerun-triggers", "mtime") if how == "by date alone" else ()
    if how == "touched":
        tiny_snakemake(folder, "stage_a_summary", "--touch", config=config)
    summary = folder / "results/stage_a/summary.md"
    before = summary.read_bytes()
    messages = tiny_snakemake(folder, "stage_a_summary", *more, config=config, status=1)
    assert "learning_rate is 0.004, the study says 0.001 (1 more files differ" in messages
    assert not summary.exists() or summary.read_bytes() == before


def test_a_touch_or_a_new_clone_reruns_nothing_even_without_snakemakes_records(study, planned):
    """Git gives the files of a clone the date of the clone."""
    source, records = ROOT / "src/ptycho_torch/files/io.py", study / ".snakemake"
    times = source.stat().st_atime, source.stat().st_mtime
    records.rename(study / "elsewhere")
    try:
        os.utime(source)
        assert planned() == []
    finally:
        os.utime(source, times)
        shutil.rmtree(records)
        (study / "elsewhere").rename(records)


def test_an_edit_of_the_package_reruns_what_runs_it(study, planned):
    """Snakemake itself never looks at src/; a comment in the metrics must score again. Behind the
    test without records: from here on lists are newer than results."""
    source = ROOT / "src/ptycho_torch/evaluate/scores.py"
    before, times = source.read_bytes(), (source.stat().st_atime, source.stat().st_mtime)
    source.write_bytes(before + b"# edited by a test\n")
    try:
        scored = [f"evaluate tiny/{arm} seed 0" for arm in ("agc", "control")]
        assert planned() == [*scored, "stage_a_summary"]
    finally:
        source.write_bytes(before)
        os.utime(source, times)
    # The list of sources is newer than what was made by it, and says the same again.
    assert planned() == []


def test_the_page_and_snakemakes_report_open_without_a_word(study, browser):
    page = browser.open(study / "results/index.html")
    assert "Stage B" in page.js("return document.body.innerText")
    # Summaries and appendices are parts of it: nobody is sent to a file of Markdown.
    links = page.js("return [...document.links].map(link => link.getAttribute('href'))")
    assert "#stage_b-summary" in links and "#stress-appendix" in links
    assert not [link for link in links if link.endswith(".md")]
    assert page.js("return document.documentElement.scrollWidth") <= 1280
    assert page.console_errors() == []
    tiny_snakemake(study, "all", "--report", "report.html")
    text = (study / "report.html").read_text()
    for category in ("Stage A", "Stage B", "Pivot", "Ratios", "Whole study"):
        assert category in text
    assert "Kaplan-Meier estimate" in text
    page = browser.open(study / "report.html")
    assert "Stage B" in page.js("return document.body.innerText")
    # Its own style sheet's warning, that it is not meant for production, is no error.
    assert page.console_errors(warnings=False) == []
    assert not [a for a in page.requests() if a.startswith("http")]
