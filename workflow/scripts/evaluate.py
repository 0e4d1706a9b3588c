"""Rule `evaluate`: hand the job's files and settings to the package; no logic here."""

from typing import TYPE_CHECKING, Any

from ptycho_torch.evaluate.run import evaluate_run
from ptycho_torch.runtime.jobs import run_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Evaluate one run."""
    evaluate_run(
        test=job.input.test,
        dataset=job.input.dataset,
        patches=job.input.patches,
        run=job.input.run,
        settings=job.params.settings,
        metrics=job.output.metrics,
        reconstruction=job.output.reconstruction,
    )


if __name__ == "__main__":
    run_job(main, snakemake)
