"""Real measurements: rPIE and networks on files that no program made, scored without a truth.

A target of its own, `real_data_summary`: it needs a download, so nothing else depends on it.
"""

REAL = "results/real_data/{measurement}"
PARTS = ("train", "half_a", "half_b", "held_out")
REAL_FIGURES = ("reconstructions", "ring_correlation", "held_out_frames")


if STUDY.real_data is not None:

    wildcard_constraints:
        measurement=one_of(STUDY.real_data.measurements),
        label=one_of(STUDY.real_data.networks),

    rule real_data_fetch:
        """Download a measurement by address and checksum, or take it from PTYCHO_DATA."""
        input:
            code=sources("real_data_fetch.py"),
        output:
            measured=f"{REAL}/measured",
            source=f"{REAL}/source.json",
        log:
            "logs/real_data/{measurement}/fetch.log",
        params:
            measurement=real_measurement("address", "file", "sha256"),
        script:
            "../scripts/real_data_fetch.py"

    rule real_data_split:
        """Read a measurement, and hold out frames by their positions."""
        input:
            measured=f"{REAL}/measured",
            code=sources("real_data_split.py"),
        output:
            **{part: f"{REAL}/frames/{part}.npz" for part in PARTS},
            split=f"{REAL}/split.json",
        log:
            "logs/real_data/{measurement}/split.log",
        params:
            measurement=real_measurement("file", "reading", "sha256"),
            region=STUDY.real_data.held_out.model_dump(mode="json"),
        script:
            "../scripts/real_data_split.py"

    rule real_data_rpie:
        """Reconstruct a measurement's training frames, and each half of them, by rPIE."""
        input:
            **{part: f"{REAL}/frames/{part}.npz" for part in PARTS},
            code=sources("real_data_rpie.py"),
        output:
            objects=f"{REAL}/rpie/objects.npz",
            report=f"{REAL}/rpie/report.json",
        log:
            "logs/real_data/{measurement}/rpie.log",
        threads: STUDY.real_data.threads
        params:
            settings=STUDY.real_data.rpie.model_dump(mode="json"),
        script:
            "../scripts/real_data_rpie.py"

    rule real_data_train:
        """Fit one network at one seed to a measurement's training frames."""
        input:
            frames=f"{REAL}/frames/train.npz",
            objects=f"{REAL}/rpie/objects.npz",
            code=sources("real_data_train.py"),
        output:
            run=f"{REAL}/train/{{label}}/seed-{{seed}}/run.json",
            timing=f"{REAL}/train/{{label}}/seed-{{seed}}/timing.json",
            history=f"{REAL}/train/{{label}}/seed-{{seed}}/history.csv",
            bundle=f"{REAL}/train/{{label}}/seed-{{seed}}/bundle/bundle.json",
            weights=f"{REAL}/train/{{label}}/seed-{{seed}}/bundle/weights.safetensors",
        log:
            "logs/real_data/{measurement}/train/{label}/seed-{seed}.log",
        threads: lambda wildcards: real_fit(wildcards)["execution"]["threads"]
        resources:
            gpu=lambda wildcards: real_fit(wildcards)["execution"]["devices"],
        params:
            fit=real_fit,
        script:
            "../scripts/real_data_train.py"

    rule real_data_infer:
        """Use a network on every part of the measurement."""
        input:
            **{part: f"{REAL}/frames/{part}.npz" for part in PARTS},
            run=f"{REAL}/train/{{label}}/seed-{{seed}}/run.json",
            weights=f"{REAL}/train/{{label}}/seed-{{seed}}/bundle/weights.safetensors",
            code=sources("real_data_infer.py"),
        output:
            objects=f"{REAL}/{{label}}/seed-{{seed}}/objects.npz",
            report=f"{REAL}/{{label}}/seed-{{seed}}/report.json",
        log:
            "logs/real_data/{measurement}/infer/{label}/seed-{seed}.log",
        threads: lambda wildcards: real_fit(wildcards)["execution"]["threads"]
        resources:
            gpu=1,
        script:
            "../scripts/real_data_infer.py"

    rule real_data_evaluate:
        """Score a reconstruction of a measurement without a ground truth."""
        input:
            **{part: f"{REAL}/frames/{part}.npz" for part in PARTS},
            objects=f"{REAL}/{{what}}/objects.npz",
            report=f"{REAL}/{{what}}/report.json",
            rpie_objects=f"{REAL}/rpie/objects.npz",
            code=sources("real_data_evaluate.py"),
        output:
            metrics=f"{REAL}/{{what}}/metrics.json",
            curves=f"{REAL}/{{what}}/curves.npz",
        log:
            "logs/real_data/{measurement}/evaluate/{what}.log",
        wildcard_constraints:
            what=r"rpie|[^/]+/seed-\d+",
        script:
            "../scripts/real_data_evaluate.py"

    rule real_data_summary:
        """What rPIE and the networks make of measured data, and what that does not show."""
        input:
            metrics=of_real_objects("metrics.json"),
            curves=of_real_objects("curves.npz"),
            reports=of_real_objects("report.json"),
            splits=[f"results/real_data/{name}/split.json" for name in STUDY.real_data.measurements],
            sources=[
                f"results/real_data/{name}/source.json" for name in STUDY.real_data.measurements
            ],
            code=sources("summarise_real_data.py"),
        output:
            summary=report(
                "results/real_data/summary.md",
                caption="../report/real_data_summary.rst",
                category="Real measurements",
            ),
            table="results/real_data/scores.csv",
            pictures=[
                report(
                    f"results/real_data/{measurement}/{name}.png",
                    caption=f"../report/real_data_{name}.rst",
                    category="Real measurements",
                    labels={"figure": f"{measurement}: {name.replace('_', ' ')}"},
                )
                for measurement in STUDY.real_data.measurements
                for name in REAL_FIGURES
            ],
            drawings=[
                f"results/real_data/{measurement}/{name}.svg"
                for measurement in STUDY.real_data.measurements
                for name in REAL_FIGURES
            ],
        log:
            "logs/real_data_summary.log",
        params:
            title=STUDY.title,
            settings=STUDY.real_data.model_dump(mode="json"),
            arms=list(STUDY.arms),
            fits=real_fits(),
            command=command_for("real_data_summary"),
        script:
            "../scripts/summarise_real_data.py"
