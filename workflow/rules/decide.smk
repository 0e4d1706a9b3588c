"""Decisions: which arm goes on to depth, and what the whole study supports."""


checkpoint stage_a_winner:
    """Stage A's winner by the rule in docs/study.md; Stage B is planned once it is known."""
    input:
        runs="results/stage_a/runs.csv",
        code=sources("decide_winner.py", "config", "statistics", "decide/winner.py"),
    output:
        winner="results/stage_a/winner.json",
    log:
        "logs/stage_a_winner.log",
    localrule: True
    params:
        study=STUDY.model_dump(mode="json"),
    script:
        "../scripts/decide_winner.py"
