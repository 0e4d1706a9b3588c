"""Rule `real_data_summary`: hand the job's files and settings to the package; no logic here."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptycho_torch.runtime.jobs import run_job
from ptycho_torch.runtime.provenance import collect_provenance

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Write the summary, its table and its figures."""
    from ptycho_torch.report.summarise.real_data import summarise_real_data

    summarise_real_data(
        job.params.title,
        job.params.settings,
        arms=job.params.arms,
        fits=job.params.fits,
        provenance=collect_provenance(job.params.command),
        folder=Path(job.output.summary).parent,
    )


if __name__ == "__main__":
    run_job(main, snakemake)
