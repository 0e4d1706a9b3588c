"""Rule `real_data_evaluate`: hand the job's files and settings to the package; no logic here."""

from typing import TYPE_CHECKING, Any

from ptycho_torch.data.write import PARTS
from ptycho_torch.evaluate.real_data import evaluate_measurement
from ptycho_torch.runtime.jobs import run_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Score one reconstruction."""
    evaluate_measurement(
        objects=job.input.objects,
        report=job.input.report,
        rpie=job.input.rpie_objects,
        parts={part: getattr(job.input, part) for part in PARTS},
        outputs={"metrics": job.output.metrics, "curves": job.output.curves},
    )


if __name__ == "__main__":
    run_job(main, snakemake)
