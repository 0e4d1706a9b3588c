"""Summaries: what the runs of a stage show, and what their number can support."""

FIGURES = ("learning_curves", "reconstructions", "metric_spread", "survival")


rule stage_a_summary:
    """Stage A, the shootout: tables, figures and verdicts."""
    input:
        dataset=f"results/simulate/{STUDY.stage_a.dataset}/dataset.json",
        runs=runs_of("stage_a", "train", "run.json"),
        timings=runs_of("stage_a", "train", "timing.json"),
        histories=runs_of("stage_a", "train", "history.csv"),
        metrics=runs_of("stage_a", "evaluate", "metrics.json"),
        reconstructions=runs_of("stage_a", "evaluate", "reconstruction.npz"),
        code=sources("summarise_stage.py", "config", "statistics", "summarise"),
    output:
        summary=report("results/stage_a/summary.md", category="Stage A"),
        runs="results/stage_a/runs.csv",
        arms="results/stage_a/arms.csv",
        comparisons="results/stage_a/comparisons.csv",
        history="results/stage_a/history.csv",
        survival_table="results/stage_a/survival.csv",
        study="results/stage_a/study.json",
        pictures=[
            report(
                f"results/stage_a/{name}.png",
                caption=f"../report/{name}.rst",
                category="Stage A",
            )
            for name in FIGURES
        ],
        drawings=[f"results/stage_a/{name}.svg" for name in FIGURES],
    log:
        "logs/stage_a_summary.log",
    params:
        study=STUDY.model_dump(mode="json"),
        stage="stage_a",
        command=command_for("stage_a_summary"),
    script:
        "../scripts/summarise_stage.py"
