"""Training: one job per arm and seed."""


rule train:
    """Fit one arm at one seed; a run that diverges is a result."""
    input:
        train="results/simulate/{dataset}/train.npz",
        validation="results/simulate/{dataset}/validation.npz",
        test="results/simulate/{dataset}/test.npz",
        dataset="results/simulate/{dataset}/dataset.json",
        code=sources(
            "train.py",
            "config",
            "physics",
            "generators",
            "measurements/batch.py",
            "measurements/scan.py",
            "train",
            without=(
                *NOT_OF_RUNS,
                "physics/stitch.py",
                "train/curve.py",
                "train/real_data.py",
                "train/scan.py",
            ),
        ),
    output:
        run="results/train/{dataset}/{arm}/seed-{seed}/run.json",
        timing="results/train/{dataset}/{arm}/seed-{seed}/timing.json",
        history="results/train/{dataset}/{arm}/seed-{seed}/history.csv",
        bundle="results/train/{dataset}/{arm}/seed-{seed}/bundle/bundle.json",
        weights="results/train/{dataset}/{arm}/seed-{seed}/bundle/weights.safetensors",
        last="results/train/{dataset}/{arm}/seed-{seed}/last.safetensors",
        patches="results/train/{dataset}/{arm}/seed-{seed}/test_patches.npz",
    log:
        "logs/train/{dataset}/{arm}/seed-{seed}.log",
    threads: lambda wildcards: STUDY.run(wildcards.dataset, wildcards.arm, 0).execution.threads
    resources:
        gpu=1,
    params:
        run=run_settings,
    script:
        "../scripts/train.py"
