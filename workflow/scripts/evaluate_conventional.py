"""Rule `evaluate_conventional`: score what rPIE made as a run is scored; no logic here."""

from typing import TYPE_CHECKING, Any

from ptycho_torch.evaluate.run import evaluate_progress, evaluate_run
from ptycho_torch.runtime.jobs import run_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Evaluate one iterative reconstruction, at its end and on its way."""
    shared = {"test": job.input.test, "dataset": job.input.dataset, "run": job.input.run}
    evaluate_run(
        **shared,
        patches=job.input.patches,
        settings=job.params.settings,
        metrics=job.output.metrics,
        reconstruction=job.output.reconstruction,
    )
    evaluate_progress(
        **shared,
        objects=job.input.objects,
        settings=job.params.settings,
        progress=job.output.progress,
    )


if __name__ == "__main__":
    run_job(main, snakemake)
