"""Summaries: what the runs of a stage show, and what their number can support."""

FIGURES = ("learning_curves", "reconstructions", "metric_spread")
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


def kept_plan(plan) -> str:
    """What a stage's runs are to be made with, as an input of its summary.

    It changes where the summary that is there was made for another plan, so that results of other
    settings, copied or touched, are never taken for up to date: they are collected again, and then
    compared run by run (files/belonging.py).
    """
    kinds = STUDY.stage_a.arms if plan.name == "stage_b" else [None]
    arms = sorted({arm for won in kinds for arm in stage_plan(STUDY, plan.name, won).arms})
    content = {
        "dataset": STUDY.datasets[plan.dataset].model_dump(mode="json"),
        "evaluation": STUDY.evaluation.model_dump(mode="json"),
        "conventional": STUDY.conventional and STUDY.conventional.model_dump(mode="json"),
        "seeds": list(plan.seed_list),
        "looks": list(plan.looks),
        "planned": list(plan.planned),
        "arms": {arm: settings_of_arm(plan.dataset, arm) for arm in arms},
    }
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    kept, made = Path(f"results/sources/{plan.name}.plan"), Path(
        f"results/{plan.name}/findings.json"
    )
    made_for = json.loads(made.read_text()).get("plan_sha256") if made.is_file() else None
    before = json.loads(kept.read_text()) if kept.is_file() else {}
    content |= {"sha256": digest, "looked": seeds_looked_at(before, content, made_for)}
    if made_for == digest:
        if before.get("sha256") != digest:
            keep_text(kept, json.dumps(content | {"replaces": None}, indent=1))
            os.utime(kept, (made.stat().st_mtime - 1,) * 2)  # As old as it was.
        return str(kept)
    # Another content, for Snakemake takes a small file for unchanged whatever its date.
    replaces = [made_for, made.stat().st_mtime_ns] if made.is_file() else None
    looks = [Path(f"results/{plan.name}/look-{n + 1}.json") for n in range(len(plan.looks[1:]))]
    if replaces and not all(look.is_file() for look in looks):
        # Snakemake asks nothing else of a job that waits for a checkpoint: it would stay as it is.
        made.unlink()
    keep_text(kept, json.dumps(content | {"replaces": replaces}, indent=1))
    return str(kept)


def seeds_looked_at(before: dict, now: dict, made_for: str | None) -> list[int]:
    """Seeds per arm of earlier summaries of the same stage, which differed in their seeds alone:
    who saw them and adds seeds has looked once more than the tests allow for, unless that look was
    planned."""
    same = ("dataset", "evaluation", "conventional", "arms")
    if not before or any(before[key] != json.loads(json.dumps(now[key])) for key in same):
        return []
    looked = before.get("looked", [])
    if made_for == before["sha256"] and before["seeds"] != now["seeds"]:
        looked = [*looked, len(before["seeds"])]
    return [count for count in looked if count not in before.get("planned", [])]


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
