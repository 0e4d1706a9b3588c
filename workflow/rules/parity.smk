"""Parity: training and inference of one bundle agree.

The report is written whatever it says; `parity` itself fails unless all agreed, so that a finding
is neither lost with the failed job's outputs nor taken for a pass.
"""

PARITY_ARM, PARITY_SEED = STUDY.stage_a.control, STUDY.stage_a.seed_list[0]
PARITY_EXECUTION = run_settings(STUDY, STUDY.stage_a.dataset, PARITY_ARM, PARITY_SEED).execution
PARITY_DATA = f"results/simulate/{STUDY.stage_a.dataset}"
PARITY_RUN = f"results/train/{STUDY.stage_a.dataset}/{PARITY_ARM}/seed-{PARITY_SEED}"


rule parity_inference:
    """The bundle as read from disk, on the test split, dumped."""
    input:
        bundle=f"{PARITY_RUN}/bundle/bundle.json",
        weights=f"{PARITY_RUN}/bundle/weights.safetensors",
        test=f"{PARITY_DATA}/test.npz",
        code=sources("parity_inference.py"),
    output:
        dump="results/parity/inference/dump.json",
        arrays="results/parity/inference/arrays.npz",
        patches="results/parity/inference/patches.png",
        stitched="results/parity/inference/stitched.png",
    log:
        "logs/parity_inference.log",
    threads: PARITY_EXECUTION.threads
    resources:
        gpu=1,
    params:
        accelerator=PARITY_EXECUTION.accelerator,
    script:
        "../scripts/parity_inference.py"


rule parity_report:
    """Training's dump, and what agrees with what."""
    input:
        run=f"{PARITY_RUN}/run.json",
        patches=f"{PARITY_RUN}/test_patches.npz",
        test=f"{PARITY_DATA}/test.npz",
        dataset=f"{PARITY_DATA}/dataset.json",
        dump="results/parity/inference/dump.json",
        arrays="results/parity/inference/arrays.npz",
        code=sources("parity_report.py"),
    output:
        data="results/parity/parity.json",
        prose=report(
            "results/parity/parity.md",
            caption="../report/parity.rst",
            category="Parity",
        ),
        picture=report(
            "results/parity/parity.png",
            caption="../report/parity.rst",
            category="Parity",
            labels={"figure": "training and inference"},
        ),
        dump="results/parity/training/dump.json",
        arrays="results/parity/training/arrays.npz",
        patches="results/parity/training/patches.png",
        stitched="results/parity/training/stitched.png",
    log:
        "logs/parity_report.log",
    params:
        settings=STUDY.parity.model_dump(mode="json"),
    script:
        "../scripts/parity_report.py"


rule parity:
    """Fails unless the report says that all agreed; the report stays."""
    input:
        data="results/parity/parity.json",
        prose="results/parity/parity.md",
        code=sources("parity.py"),
    output:
        passed="results/parity/passed.txt",
    log:
        "logs/parity.log",
    script:
        "../scripts/parity.py"
