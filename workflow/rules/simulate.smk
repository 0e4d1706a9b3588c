"""Datasets: three splits from three objects, or files that another program made."""


rule simulate:
    """Make, or take in, the three splits of one dataset."""
    input:
        files=files_for_dataset,
        code=sources("simulate.py"),
    output:
        train="results/simulate/{dataset}/train.npz",
        validation="results/simulate/{dataset}/validation.npz",
        test="results/simulate/{dataset}/test.npz",
        dataset="results/simulate/{dataset}/dataset.json",
    log:
        "logs/simulate/{dataset}.log",
    threads: 1
    params:
        settings=lambda wildcards: STUDY.datasets[wildcards.dataset].model_dump(mode="json"),
        content=content_of_files,
    script:
        "../scripts/simulate.py"
