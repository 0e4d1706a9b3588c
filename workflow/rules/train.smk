"""Training: one job per arm and seed, or per arm and some seeds (`seeds_per_job`)."""

RUN = "results/train/{dataset}/{arm}/seed-{seed}"
RUN_FILES = {
    "run": "run.json",
    "timing": "timing.json",
    "history": "history.csv",
    "bundle": "bundle/bundle.json",
    "weights": "bundle/weights.safetensors",
    "last": "last.safetensors",
    "patches": "test_patches.npz",
}


rule train:
    """Fit one arm at one seed; a run that diverges is a result."""
    input:
        train="results/simulate/{dataset}/train.npz",
        validation="results/simulate/{dataset}/validation.npz",
        test="results/simulate/{dataset}/test.npz",
        dataset="results/simulate/{dataset}/dataset.json",
        code=sources("train.py"),
    output:
        **{name: f"{RUN}/{file}" for name, file in RUN_FILES.items()},
    log:
        "logs/train/{dataset}/{arm}/seed-{seed}.log",
    wildcard_constraints:
        dataset=outside_blocks(),
    threads: lambda wildcards: settings_of_run(wildcards)["execution"]["threads"]
    resources:
        gpu=gpus_of_run,
    params:
        run=settings_of_run,
    script:
        "../scripts/train.py"


# The same for several seeds of an arm, one after another: what a job takes to start is paid once.
for dataset, seeds, arms in SEED_BLOCKS:

    rule:
        name:
            block_name("train", seeds)
        input:
            train="results/simulate/{dataset}/train.npz",
            validation="results/simulate/{dataset}/validation.npz",
            test="results/simulate/{dataset}/test.npz",
            dataset="results/simulate/{dataset}/dataset.json",
            code=sources("train.py"),
        output:
            **{
                name: [f"{RUN}/{file}".replace("{seed}", str(seed)) for seed in seeds]
                for name, file in RUN_FILES.items()
            },
        log:
            f"logs/train/{{dataset}}/{{arm}}/seed-{'_'.join(map(str, seeds))}.log",
        wildcard_constraints:
            dataset=re.escape(dataset),
            arm=one_of(arms),
        params:
            run=settings_of_run,
        script:
            "../scripts/train.py"

    # Profiles and --set-resources know `train` alone: what they ask for it holds here as well.
    of_one, of_several = map(workflow.get_rule, ("train", block_name("train", seeds)))
    of_several.resources.update(of_one.resources)
