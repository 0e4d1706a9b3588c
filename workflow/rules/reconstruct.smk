"""Iterative reconstruction: the row beside the networks that no network made."""

if STUDY.conventional is not None:

    rule reconstruct:
        """Reconstruct a dataset's test split by rPIE with its known probe."""
        input:
            test="results/simulate/{dataset}/test.npz",
            dataset="results/simulate/{dataset}/dataset.json",
            code=sources("reconstruct.py"),
        output:
            run=f"{CONVENTIONAL}/run.json",
            patches=f"{CONVENTIONAL}/test_patches.npz",
            objects=f"{CONVENTIONAL}/objects.npz",
        log:
            "logs/reconstruct/{dataset}/rpie.log",
        threads: 1
        params:
            settings=STUDY.conventional.model_dump(mode="json"),
        script:
            "../scripts/reconstruct.py"

    rule evaluate_conventional:
        """Score the iterative reconstruction as a run's, at its end and on its way."""
        input:
            test="results/simulate/{dataset}/test.npz",
            dataset="results/simulate/{dataset}/dataset.json",
            run=f"{CONVENTIONAL}/run.json",
            patches=f"{CONVENTIONAL}/test_patches.npz",
            objects=f"{CONVENTIONAL}/objects.npz",
            code=sources("evaluate_conventional.py"),
        output:
            metrics=f"{CONVENTIONAL}/metrics.json",
            progress=f"{CONVENTIONAL}/progress.json",
            reconstruction=f"{CONVENTIONAL}/reconstruction.npz",
        log:
            "logs/evaluate/{dataset}/rpie.log",
        params:
            settings=STUDY.evaluation.model_dump(mode="json"),
        script:
            "../scripts/evaluate_conventional.py"
