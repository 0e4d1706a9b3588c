"""Rule `real_data_rpie`: hand the job's files and settings to the package; no logic here."""

from typing import TYPE_CHECKING, Any

from ptycho_torch.config.scan import RpieSettings
from ptycho_torch.data.write import PARTS
from ptycho_torch.reconstruct.run import reconstruct_measurement
from ptycho_torch.runtime.jobs import run_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Reconstruct one measurement."""
    reconstruct_measurement(
        RpieSettings.model_validate(job.params.settings),
        parts={part: getattr(job.input, part) for part in PARTS},
        outputs={"objects": job.output.objects, "report": job.output.report},
        threads=job.threads,
    )


if __name__ == "__main__":
    run_job(main, snakemake)
