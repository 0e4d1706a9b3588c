"""The page: the whole study in one file, for those without Snakemake."""


rule study_page:
    """The whole study on one page."""
    input:
        documents=[
            "results/study/summary.md",
            "results/study/decision.md",
            *(
                f"results/{stage}/{document}.md"
                for document in ("summary", "appendix")
                for stage in stage_names(STUDY)
            ),
        ],
        code=sources("publish.py"),
    output:
        page=report(
            "results/index.html", category="Whole study", caption="../report/study_page.rst"
        ),
    log:
        "logs/study_page.log",
    script:
        "../scripts/publish.py"
