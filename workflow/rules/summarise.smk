"""Summaries: what the runs of a stage show, and what their number can support."""

FIGURES = ("learning_curves", "reconstructions", "metric_spread", "survival")
TABLES = ("runs", "arms", "comparisons", "history", "survival")


def stage_figures(stage: str) -> tuple[str, ...]:
    """Names of a stage's figures."""
    if stage in STUDY.sweeps:
        return (*FIGURES, "by_value")
    return (*FIGURES, "gradient_norms") if stage in ("stage_b", "pivot") else FIGURES


def category(stage: str) -> str:
    """Heading of a stage in Snakemake's report."""
    return (
        stage.replace("_", " ")
        .capitalize()
        .replace("Stage a", "Stage A")
        .replace("Stage b", "Stage B")
    )


def dataset_of(stage: str) -> str:
    """The dataset of a stage, which does not depend on a winner."""
    return stage_plan(STUDY, stage, STUDY.stage_a.control).dataset


# One target per stage: stage_a_summary, stage_b_summary, pivot_summary, and each sweep's.
for stage in stage_names(STUDY):

    rule:
        name:
            f"{stage}_summary"
        input:
            winner="results/stage_a/winner.json" if stage == "stage_b" else [],
            dataset=f"results/simulate/{dataset_of(stage)}/dataset.json",
            runs=runs_of(stage, "train", "run.json"),
            timings=runs_of(stage, "train", "timing.json"),
            histories=runs_of(stage, "train", "history.csv"),
            metrics=runs_of(stage, "evaluate", "metrics.json"),
            reconstructions=runs_of(stage, "evaluate", "reconstruction.npz"),
            code=sources("summarise_stage.py", "config", "statistics", "summarise"),
        output:
            summary=report(
                f"results/{stage}/summary.md",
                caption="../report/summary.rst",
                category=category(stage),
            ),
            findings=f"results/{stage}/findings.json",
            study=f"results/{stage}/study.json",
            tables=[f"results/{stage}/{name}.csv" for name in TABLES],
            pictures=[
                report(
                    f"results/{stage}/{name}.png",
                    caption=f"../report/{name}.rst",
                    category=category(stage),
                    labels={"figure": name.replace("_", " ")},
                )
                for name in stage_figures(stage)
            ],
            drawings=[f"results/{stage}/{name}.svg" for name in stage_figures(stage)],
        log:
            f"logs/{stage}_summary.log",
        params:
            study=STUDY.model_dump(mode="json"),
            stage=stage,
            command=command_for(f"{stage}_summary"),
        script:
            "../scripts/summarise_stage.py"
