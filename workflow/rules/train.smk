"""Training: one job per arm and seed, or per arm where it trains its seeds together."""

TRAIN_CODE = sources("train.py")


rule train:
    """Fit one arm at one seed; a run that diverges is a result."""
    input:
        train="results/simulate/{dataset}/train.npz",
        validation="results/simulate/{dataset}/validation.npz",
        test="results/simulate/{dataset}/test.npz",
        dataset="results/simulate/{dataset}/dataset.json",
        code=TRAIN_CODE,
    output:
        **of_run("{dataset}", "{arm}", "{seed}"),
    log:
        "logs/train/{dataset}/{arm}/seed-{seed}.log",
    threads: lambda wildcards: settings_of_run(wildcards)[0]["execution"]["threads"]
    resources:
        gpu=1,
    params:
        runs=settings_of_run,
    script:
        "../scripts/train.py"


# A rule for each, since a rule's outputs are as many for every job. The rule's name says how many
# runs it makes, which the progress view counts; a profile's resources for `train` hold here too.
for number, seeds in enumerate(seed_jobs(STUDY)):
    together = f"train_{len(seeds.seeds)}_seeds_{number}"
    copy_resources("train", together)

    rule:
        name:
            together
        input:
            train=f"results/simulate/{seeds.dataset}/train.npz",
            validation=f"results/simulate/{seeds.dataset}/validation.npz",
            test=f"results/simulate/{seeds.dataset}/test.npz",
            dataset=f"results/simulate/{seeds.dataset}/dataset.json",
            code=TRAIN_CODE,
        output:
            **of_run(seeds.dataset, seeds.arm, seeds.seeds),
        log:
            f"logs/train/{seeds.dataset}/{seeds.arm}/seeds-{'-'.join(map(str, seeds.seeds))}.log",
        threads: run_settings(STUDY, seeds.dataset, seeds.arm, 0).execution.threads
        resources:
            gpu=1,
        params:
            runs=settings_of(seeds),
        script:
            "../scripts/train.py"

    # Of two rules for the same files, that without wildcards.
    workflow.ruleorder(together, "train")
