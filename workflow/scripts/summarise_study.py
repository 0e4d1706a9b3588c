"""Rule `study_summary`: hand the job's files and settings to the package; no logic here."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptycho_torch.runtime.jobs import run_job
from ptycho_torch.runtime.provenance import collect_provenance

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Write the summary of the whole study."""
    from ptycho_torch.report.summarise.study import summarise_study

    summarise_study(
        findings=job.input.findings,
        decision=job.input.decision,
        study=job.params.study,
        provenance=collect_provenance(job.params.command),
        folder=Path(job.output.summary).parent,
    )


if __name__ == "__main__":
    run_job(main, snakemake)
