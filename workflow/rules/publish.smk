"""The page: the whole study in one file, for those without Snakemake."""


rule study_page:
    """The whole study on one page."""
    input:
        runs="results/study/runs.csv",
        history="results/study/history.csv",
        decision="results/study/decision.json",
        study="results/study/study.json",
        reconstructions=all_reconstructions,
        code=sources("publish.py"),
    output:
        page=report(
            "results/index.html", category="Whole study", caption="../report/study_page.rst"
        ),
    log:
        "logs/study_page.log",
    script:
        "../scripts/publish.py"
