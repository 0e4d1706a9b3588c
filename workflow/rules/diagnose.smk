"""Diagnoses: gradients and activations of untrained networks and of every trained run, and what follows."""

DIAGNOSIS_FIGURES = ("activation_depth", "gradient_ratio")
DIAGNOSED = [
    stage
    for stage in stage_names(STUDY)
    if STUDY.diagnostics.stages is None or stage in STUDY.diagnostics.stages
]
# A stage's dataset does not depend on who wins Stage A.
DIAGNOSED_DATASETS = list(
    dict.fromkeys(
        [STUDY.stage_a.dataset]
        + [stage_plan(STUDY, stage, STUDY.stage_a.control).dataset for stage in DIAGNOSED]
    )
)


# One job for all untrained networks and one for all runs of a dataset: starting torch takes longer
# than looking at a network. On the CPU: a pass or two of a few groups.
rule diagnose_fresh:
    """Probe and monitor untrained networks over weight seeds; check the loss's units."""
    input:
        train="results/simulate/{dataset}/train.npz",
        dataset="results/simulate/{dataset}/dataset.json",
        code=sources("diagnose_fresh.py"),
    output:
        gradients="results/diagnose/{dataset}/fresh/gradient_report.json",
        activations="results/diagnose/{dataset}/fresh/activation_report.json",
        units="results/diagnose/{dataset}/fresh/loss_units.json",
    log:
        "logs/diagnose/{dataset}/fresh.log",
    threads: STUDY.execution.threads
    params:
        networks={k: v.model_dump(mode="json") for k, v in untrained_networks(STUDY).items()},
        settings=STUDY.diagnostics.model_dump(mode="json"),
    script:
        "../scripts/diagnose_fresh.py"


rule diagnose_runs:
    """Probe and monitor every trained run; weights that cannot be used are a result."""
    input:
        train="results/simulate/{dataset}/train.npz",
        dataset="results/simulate/{dataset}/dataset.json",
        runs=diagnosed_runs("run.json"),
        bundles=diagnosed_runs("bundle/bundle.json"),
        weights=diagnosed_runs("bundle/weights.safetensors"),
        last=diagnosed_runs("last.safetensors"),
        code=sources("diagnose_runs.py"),
    output:
        gradients="results/diagnose/{dataset}/trained/gradient_report.json",
        activations="results/diagnose/{dataset}/trained/activation_report.json",
    log:
        "logs/diagnose/{dataset}/trained.log",
    threads: STUDY.execution.threads
    params:
        settings=STUDY.diagnostics.model_dump(mode="json"),
    script:
        "../scripts/diagnose_runs.py"


rule diagnostics:
    """Three hypotheses on why runs fail, held against what was measured; what follows."""
    input:
        gradients=diagnoses("gradient_report.json"),
        activations=diagnoses("activation_report.json"),
        units=[f"results/diagnose/{d}/fresh/loss_units.json" for d in DIAGNOSED_DATASETS],
        # Those that do not wait for a winner or a look, so that a dry run shows them.
        known=[
            path
            for stage in DIAGNOSED
            if not waits(stage)
            for path in files_of_runs(plan_of(stage), "train", "run.json")
        ],
        runs=diagnosed_runs("run.json"),
        histories=diagnosed_runs("history.csv"),
        code=sources("diagnostics.py"),
    output:
        prose=report(
            "results/diagnose/decision.md",
            caption="../report/diagnostics.rst",
            category="Diagnoses",
        ),
        data="results/diagnose/decision.json",
        pictures=[
            report(
                f"results/diagnose/{name}.png",
                caption=f"../report/{name}.rst",
                category="Diagnoses",
                labels={"figure": name.replace("_", " ")},
            )
            for name in DIAGNOSIS_FIGURES
        ],
        drawings=[f"results/diagnose/{name}.svg" for name in DIAGNOSIS_FIGURES],
    log:
        "logs/diagnostics.log",
    params:
        study=settings_that_decide(),
        command=command_for("diagnostics"),
    script:
        "../scripts/diagnostics.py"
