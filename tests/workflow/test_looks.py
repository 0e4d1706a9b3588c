"""Planned looks at a stage, by Snakemake: what a look leaves open is trained on, nothing else."""

import json

import pandas as pd


def test_a_look_that_decides_ends_the_stage(snakemake, config_file, tmp_path):
    """And a look that was planned is taken later by the command that the summary prints."""

    def small(study):
        for block in ("stress", "sweeps", "stage_b", "pivot", "decision", "conventional"):
            study.pop(block, None)
        study["training"]["epochs"] = 1
        study["stage_a"]["seeds"] = seeds

    def summary(*more):
        snakemake("stage_a_summary", "--cores", "2", "--configfile", config_file(small), *more)
        return (folder / "summary.md").read_text()

    folder, arms = tmp_path / "results" / "stage_a", {"control", "agc"}
    told = "Seeds were added after a summary of 1 per arm"
    seeds = 1
    assert told not in summary()
    seeds = {"looks": [1, 2], "taken": 1}
    text = summary()
    assert "looks planned at 1, 2 seeds" in text and told not in text and "look-1" not in text
    more = ("--config", "stage_a={seeds: {taken: 2}}")
    assert f"stage_a_summary --cores 4 {more[0]} '{more[1]}'" in text
    assert told not in summary(*more)

    def trained():
        runs = pd.read_csv(folder / "runs.csv")
        return {arm: sorted(of["seed"]) for arm, of in runs.groupby("arm")}

    # One run an arm decides nothing: the arm goes on to the second look, and the control with it.
    look = json.loads((folder / "look-1.json").read_text())
    assert look["undecided"] == ["agc"] and trained() == {arm: [0, 1] for arm in arms}
    (folder / "look-1.json").write_text(json.dumps(look | {"undecided": []}))
    summary(*more)
    assert trained() == {arm: [0] for arm in arms}
