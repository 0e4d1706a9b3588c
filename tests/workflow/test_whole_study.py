"""The smallest whole study, from nothing to its page and Snakemake's own report."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
DEEP = "-fno_blocks-3"


@pytest.fixture(scope="module")
def study(tiny_run):
    return tiny_run.folder


def runs_on_disk(study):
    return sorted(p.parent.parent.name for p in (study / "results/train/tiny").rglob("run.json"))


def test_every_stage_is_there_and_nothing_is_trained_twice(study):
    """The sweep's 0.01 is `agc`; Stage B, sweep and pivot share their runs."""
    winner = json.loads((study / "results/stage_a/winner.json").read_text())["winner"]
    assert winner in ("control", "agc")
    assert runs_on_disk(study) == sorted([
        "agc", "agc-max_ratio-0.1", f"agc{DEEP}", "control", f"control{DEEP}", f"layerscale{DEEP}",
    ])  # fmt: skip
    results = study / "results"
    for stage in ("stage_a", "stage_b", "pivot", "ratios", "study"):
        text = (results / stage / "summary.md").read_text()
        for figure in re.findall(r"\]\((\S+\.(?:png|svg))\)", text):
            assert (results / stage / figure).stat().st_size > 5000, (stage, figure)


def test_no_network_was_asked_for(study):
    """All of it ran without one; tests/workflow/test_surroundings.py tries the guard."""
    asked = study / "network.log"
    assert not asked.exists(), asked.read_text()


def test_the_decision_names_what_it_cannot_know(study):
    decision = json.loads((study / "results/study/decision.json").read_text())
    assert decision["decision"] == "undecided"
    text = (study / "results/study/decision.md").read_text()
    assert text.startswith("# Undecided") and "What would change it" in text


def test_nothing_published_says_who_ran_it_or_where(study, tiny_run):
    """All of results/ may be handed on: pages, pictures, tables, bundles, arrays."""
    seen = subprocess.run(
        [sys.executable, "-c", "import os, socket; print(socket.gethostname(), os.environ['USER'])"],
        env={**os.environ, "PYTHONPATH": str(study / "named")}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    names = [tiny_run.HOST, tiny_run.USER]
    assert seen.stdout.split() == names  # the names are in force
    words = [*names, str(study), str(ROOT), str(Path.home()) + "/", "/tmp/", "file://"]
    files = [path for path in (study / "results").rglob("*") if path.is_file()]
    assert len(files) > 150
    for path in files:
        content = path.read_bytes()
        # plotly.js has words of its own.
        own = {"file://", "/tmp/"} if path.name == "index.html" else set()
        assert not [w for w in words if w.encode() in content and w not in own], path


def test_a_second_call_has_nothing_to_do_also_without_the_winners_file(study, tiny_run):
    again = tiny_run.call(study, "all", "-n")
    assert "Nothing to be done" in again.stdout + again.stderr
    winner = study / "results/stage_a/winner.json"
    kept = winner.read_bytes()
    winner.unlink()
    try:
        text = tiny_run.call(study, "all", "-n")
        assert "train" not in text.stdout + text.stderr, text.stdout
    finally:
        winner.write_bytes(kept)


def test_the_page_has_every_run_and_opens_without_a_word(study, browser):
    runs = pd.read_csv(study / "results/study/runs.csv")
    assert len(runs) == 6
    page = browser.open(study / "results/index.html")
    rows = page.js("return document.querySelectorAll('#run-table tbody tr').length")
    assert rows == len(runs) == 6
    assert page.console_errors() == []


def test_parity_holds_for_a_run_of_the_study_and_trains_nothing(study, tiny_run):
    """The report and both dumps stay; no run of the study is made again."""
    assert "train" not in tiny_run.said["parity"].replace("parity", "")
    folder = study / "results/parity"
    assert (folder / "passed.txt").read_text().startswith("passed")
    assert (folder / "parity.md").read_text().startswith("# Parity passed")
    for side in ("training", "inference"):
        assert (folder / side / "dump.json").exists()


def test_snakemakes_report_is_one_file_with_a_caption_per_figure(study, tiny_run, browser):
    done = tiny_run.call(study, "all", "--report", "report.html")
    assert done.returncode == 0, done.stdout + done.stderr
    text = (study / "report.html").read_text()
    for category in ("Stage A", "Stage B", "Pivot", "Ratios", "Whole study"):
        assert category in text
    assert "Kaplan-Meier estimate" in text and "multiple of the largest 99th percentile" in text
    page = browser.open(study / "report.html")
    shown = page.js("return document.body.innerText")
    assert "Stage B" in shown
    # Its own style sheet's warning, that it is not meant for production, is no error.
    assert page.console_errors(warnings=False) == []
    assert not [a for a in page.requests() if a.startswith("http")]
