"""Rule `evaluate`: hand the job's files and settings to the package; no logic here."""

from typing import TYPE_CHECKING, Any

from ptycho_torch.evaluate.run import evaluate_run
from ptycho_torch.runtime.jobs import run_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Evaluate one run, or the runs of several seeds."""
    names = (job.input.patches, job.input.run, job.output.metrics, job.output.reconstruction)
    single = isinstance(job.input.run, str)
    for patches, run, metrics, reconstruction in [names] if single else zip(*names, strict=True):
        evaluate_run(
            test=job.input.test,
            dataset=job.input.dataset,
            patches=patches,
            run=run,
            settings=job.params.settings,
            metrics=metrics,
            reconstruction=reconstruction,
        )


if __name__ == "__main__":
    run_job(main, snakemake)
