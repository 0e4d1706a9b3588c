"""Moving targets in front of lists of NAME=VALUE, and nothing else."""

import pytest

from snakemake_logger_plugin_ptycho import targets_first


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (
            "--cores 4 --resources gpu=1 stage_a_summary",
            "stage_a_summary --cores 4 --resources gpu=1",
        ),
        (
            "--cores 4 --configfile config/full.yaml stage_a_summary",
            "stage_a_summary --cores 4 --configfile config/full.yaml",
        ),
        ("--configfile a.yaml b.yml results/x.json", "results/x.json --configfile a.yaml b.yml"),
        ("--resources gpu=1 mem_mb=900 a b -n", "a b --resources gpu=1 mem_mb=900 -n"),
        ("--config seeds=3 a --cores 2", "a --config seeds=3 --cores 2"),
        ("a --cores 4 --resources gpu=1", "a --cores 4 --resources gpu=1"),
        ("--cores 4 a", "--cores 4 a"),
        ("--resources gpu=1 -- a", "--resources gpu=1 -- a"),
        ("--resources=gpu=1 a", "--resources=gpu=1 a"),
        # As Snakemake starts its jobs on a cluster.
        (
            "results/x --default-resources base64//bWVtX21iPTEw base64//cnVudGltZT01 --mode remote",
            "results/x --default-resources base64//bWVtX21iPTEw base64//cnVudGltZT01 --mode remote",
        ),
        ("", ""),
    ],
)
def test_targets_end_the_list(typed, read):
    assert targets_first(typed.split()) == read.split()


def test_a_study_may_have_any_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("")
    assert targets_first(["--configfile", "mine", "all"]) == ["all", "--configfile", "mine"]


def test_importing_the_plugin_elsewhere_leaves_the_arguments(monkeypatch):
    import importlib
    import sys

    import snakemake_logger_plugin_ptycho as plugin

    words = ["pytest", "--resources", "gpu=1", "a"]
    monkeypatch.setattr(sys, "argv", list(words))
    importlib.reload(plugin)
    assert sys.argv == words
