"""Evaluation: scores of one run's reconstruction, without torch."""


rule evaluate:
    """Score one run beside a constant image and the noise-free truth, and judge its outcome."""
    input:
        test="results/simulate/{dataset}/test.npz",
        dataset="results/simulate/{dataset}/dataset.json",
        patches="results/train/{dataset}/{arm}/seed-{seed}/test_patches.npz",
        run="results/train/{dataset}/{arm}/seed-{seed}/run.json",
        code=sources("evaluate.py"),
    output:
        metrics="results/evaluate/{dataset}/{arm}/seed-{seed}/metrics.json",
        reconstruction="results/evaluate/{dataset}/{arm}/seed-{seed}/reconstruction.npz",
    log:
        "logs/evaluate/{dataset}/{arm}/seed-{seed}.log",
    # As soon as a run ends, so that its outcome is known while others train.
    priority: 10
    params:
        settings=STUDY.evaluation.model_dump(mode="json"),
    script:
        "../scripts/evaluate.py"
