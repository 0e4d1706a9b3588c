"""Decisions: which arm goes on to depth, and what the whole study supports."""


checkpoint stage_a_winner:
    """Stage A's winner by the rule in docs/study.md; Stage B is planned once it is known."""
    input:
        runs="results/stage_a/runs.csv",
        code=sources("decide_winner.py"),
    output:
        winner="results/stage_a/winner.json",
    log:
        "logs/stage_a_winner.log",
    params:
        plan=asdict(stage_plan(STUDY, "stage_a")),
    script:
        "../scripts/decide_winner.py"


checkpoint look:
    """A planned look at a stage: only what is undecided is trained at the next look's seeds."""
    input:
        dataset=lambda wildcards: f"results/simulate/{plan_of(wildcards.stage).dataset}/dataset.json",
        runs=looked_at("train", "run.json"),
        timings=looked_at("train", "timing.json"),
        histories=looked_at("train", "history.csv"),
        metrics=looked_at("evaluate", "metrics.json"),
        reconstructions=looked_at("evaluate", "reconstruction.npz"),
        code=sources("look.py"),
    output:
        look="results/{stage}/look-{number}.json",
    log:
        "logs/{stage}_look-{number}.log",
    wildcard_constraints:
        stage="stage_a|stress",
        number=r"\d+",
    params:
        study=without_title(),
    script:
        "../scripts/look.py"


if STUDY.decision is not None:

    rule decide:
        """Gold, Silver, Pivot or Undecided, by the rules in docs/study.md."""
        input:
            stage_a="results/stage_a/runs.csv",
            pivot="results/pivot/runs.csv",
            winner="results/stage_a/winner.json",
            stress="results/stress/findings.json" if STUDY.stress else [],
            code=sources("decide.py"),
        output:
            data="results/study/decision.json",
            prose=report(
                "results/study/decision.md",
                caption="../report/decision.rst",
                category="Whole study",
            ),
        log:
            "logs/decide.log",
        params:
            study=settings_that_decide(),
            command=command_for("study_summary"),
        script:
            "../scripts/decide.py"

    rule study_summary:
        """The whole study: every stage in short, every run in one table, the decision."""
        input:
            findings=[f"results/{stage}/findings.json" for stage in stage_names(STUDY)],
            runs=[f"results/{stage}/runs.csv" for stage in stage_names(STUDY)],
            decision="results/study/decision.json",
            prose="results/study/decision.md",
            code=sources("summarise_study.py"),
        output:
            summary=report(
                "results/study/summary.md",
                caption="../report/study_summary.rst",
                category="Whole study",
            ),
            runs="results/study/runs.csv",
            picture=report(
                "results/study/overview.png",
                caption="../report/overview.rst",
                category="Whole study",
                labels={"figure": "overview"},
            ),
            drawing="results/study/overview.svg",
        log:
            "logs/study_summary.log",
        params:
            study=settings_that_decide() | {"title": STUDY.title},
            command=command_for("study_summary"),
        script:
            "../scripts/summarise_study.py"
