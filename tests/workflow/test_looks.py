"""Planned looks at a stage, by Snakemake: what a look leaves open is trained on, nothing else."""

import json

import pandas as pd


def test_a_look_that_decides_ends_the_stage(snakemake, config_file, tmp_path):
    def looks(study):
        for block in ("stress", "sweeps", "stage_b", "pivot", "decision", "conventional"):
            study.pop(block, None)
        study["training"]["epochs"] = 1
        study["stage_a"] |= {"seeds": {"looks": [1, 2]}}

    words = ("stage_a_summary", "--cores", "2", "--configfile", config_file(looks))
    done = snakemake(*words)
    assert done.returncode == 0, done.stderr
    folder, arms = tmp_path / "results" / "stage_a", {"control", "agc"}

    def seeds():
        runs = pd.read_csv(folder / "runs.csv")
        return {arm: sorted(of["seed"]) for arm, of in runs.groupby("arm")}

    # One run an arm decides nothing: the arm goes on to the second look, and the control with it.
    look = json.loads((folder / "look-1.json").read_text())
    assert look["undecided"] == ["agc"] and seeds() == {arm: [0, 1] for arm in arms}
    assert "looks planned at 1, 2 seeds" in (folder / "summary.md").read_text()
    (folder / "look-1.json").write_text(json.dumps(look | {"undecided": []}))
    done = snakemake(*words)
    assert done.returncode == 0, done.stderr
    assert seeds() == {arm: [0] for arm in arms}
