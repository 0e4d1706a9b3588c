"""Evaluation: scores of one run's reconstruction, without torch."""

SCORES = "results/evaluate/{dataset}/{arm}/seed-{seed}"


rule evaluate:
    """Score one run beside a constant image and the noise-free truth, and judge its outcome."""
    input:
        test="results/simulate/{dataset}/test.npz",
        dataset="results/simulate/{dataset}/dataset.json",
        patches=f"{RUN}/test_patches.npz",
        run=f"{RUN}/run.json",
        code=sources("evaluate.py"),
    output:
        metrics=f"{SCORES}/metrics.json",
        reconstruction=f"{SCORES}/reconstruction.npz",
    log:
        "logs/evaluate/{dataset}/{arm}/seed-{seed}.log",
    wildcard_constraints:
        dataset=outside_blocks(),
    # As soon as a run ends, so that its outcome is known while others train.
    priority: 10
    params:
        settings=STUDY.evaluation.model_dump(mode="json"),
    script:
        "../scripts/evaluate.py"


for dataset, seeds, arms in SEED_BLOCKS:

    rule:
        name:
            block_name("evaluate", seeds)
        input:
            test="results/simulate/{dataset}/test.npz",
            dataset="results/simulate/{dataset}/dataset.json",
            patches=[f"{RUN}/test_patches.npz".replace("{seed}", str(seed)) for seed in seeds],
            run=[f"{RUN}/run.json".replace("{seed}", str(seed)) for seed in seeds],
            code=sources("evaluate.py"),
        output:
            metrics=[f"{SCORES}/metrics.json".replace("{seed}", str(seed)) for seed in seeds],
            reconstruction=[
                f"{SCORES}/reconstruction.npz".replace("{seed}", str(seed)) for seed in seeds
            ],
        log:
            f"logs/evaluate/{{dataset}}/{{arm}}/seed-{'_'.join(map(str, seeds))}.log",
        wildcard_constraints:
            dataset=re.escape(dataset),
            arm=one_of(arms),
        priority: 10
        params:
            settings=STUDY.evaluation.model_dump(mode="json"),
        script:
            "../scripts/evaluate.py"
