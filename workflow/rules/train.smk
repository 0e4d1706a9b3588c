"""Training: one job per arm and seed."""

RUN = "results/train/{dataset}/{arm}/seed-{seed}"


rule train:
    """Fit one arm at one seed; a run that diverges is a result."""
    input:
        train="results/simulate/{dataset}/train.npz",
        validation="results/simulate/{dataset}/validation.npz",
        test="results/simulate/{dataset}/test.npz",
        dataset="results/simulate/{dataset}/dataset.json",
        code=sources("train.py"),
    output:
        run=f"{RUN}/run.json",
        timing=f"{RUN}/timing.json",
        history=f"{RUN}/history.csv",
        bundle=f"{RUN}/bundle/bundle.json",
        weights=f"{RUN}/bundle/weights.safetensors",
        last=f"{RUN}/last.safetensors",
        patches=f"{RUN}/test_patches.npz",
    log:
        "logs/train/{dataset}/{arm}/seed-{seed}.log",
    threads: lambda wildcards: settings_of_run(wildcards)["execution"]["threads"]
    resources:
        gpu=lambda wildcards: settings_of_run(wildcards)["execution"]["devices"],
    params:
        run=settings_of_run,
    script:
        "../scripts/train.py"
