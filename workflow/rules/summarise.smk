"""Summaries: what the runs of a stage show, and what their number can support."""

FIGURES = ("learning_curves", "reconstructions", "metric_spread", "survival")
TABLES = ("runs", "arms", "comparisons", "history", "survival")


def stage_figures(plan) -> tuple[str, ...]:
    """Names of a stage's figures."""
    return ("loss_by_rate", "areas") if plan.grid else FIGURES


def stage_tables(plan) -> tuple[str, ...]:
    """Names of a stage's tables."""
    return (*TABLES, "curves", "areas") if plan.grid else TABLES


def conventional_of(plan) -> list[str]:
    """Scores of the conventional reconstruction of a stage's dataset, if the study has one."""
    if STUDY.conventional is None:
        return []
    folder = CONVENTIONAL.format(dataset=plan.dataset)
    return [f"{folder}/{file}" for file in ("metrics.json", "progress.json", "reconstruction.npz")]


# Title, data and figures of a stage do not depend on who wins Stage A; its arms may.
PLANS = [stage_plan(STUDY, stage, STUDY.stage_a.control) for stage in stage_names(STUDY)]


# One target per stage: stage_a_summary, stage_b_summary, pivot_summary, and each sweep's.
for plan in PLANS:

    rule:
        name:
            f"{plan.name}_summary"
        input:
            winner="results/stage_a/winner.json" if plan.name == "stage_b" else [],
            dataset=f"results/simulate/{plan.dataset}/dataset.json",
            runs=runs_of(plan.name, "train", "run.json"),
            timings=runs_of(plan.name, "train", "timing.json"),
            histories=runs_of(plan.name, "train", "history.csv"),
            metrics=runs_of(plan.name, "evaluate", "metrics.json"),
            reconstructions=runs_of(plan.name, "evaluate", "reconstruction.npz"),
            conventional=conventional_of(plan),
            plan=kept_plan(plan),
            code=sources("summarise_stage.py"),
        output:
            summary=report(
                f"results/{plan.name}/summary.md",
                caption="../report/summary.rst",
                category=plan.title,
            ),
            appendix=f"results/{plan.name}/appendix.md",
            findings=f"results/{plan.name}/findings.json",
            study=f"results/{plan.name}/study.json",
            tables=[f"results/{plan.name}/{name}.csv" for name in stage_tables(plan)],
            pictures=[
                report(
                    f"results/{plan.name}/{name}.png",
                    caption=f"../report/{name}.rst",
                    category=plan.title,
                    labels={"figure": name.replace("_", " ")},
                )
                for name in stage_figures(plan)
            ],
            drawings=[f"results/{plan.name}/{name}.svg" for name in stage_figures(plan)],
        log:
            f"logs/{plan.name}_summary.log",
        params:
            study=without_title(),
            stage=plan.name,
            command=command_for(f"{plan.name}_summary"),
        script:
            "../scripts/summarise_stage.py"
