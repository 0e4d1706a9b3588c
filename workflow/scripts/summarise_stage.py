"""Rules `<stage>_summary`: say what the seeds of a stage support."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptycho_torch.report.collect import KINDS
from ptycho_torch.report.summarise.stage import summarise_stage
from ptycho_torch.runtime.jobs import run_job
from ptycho_torch.runtime.provenance import collect_provenance

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Write the summary, its tables and its figures into one folder."""
    summarise_stage(
        {kind: getattr(job.input, kind) for kind in KINDS},
        dataset=job.input.dataset,
        conventional=job.input.conventional,
        study=job.params.study,
        stage=job.params.stage,
        provenance=collect_provenance(job.params.command),
        folder=Path(job.output.summary).parent,
        winner=job.input.winner or None,
        plan=job.input.plan or None,
    )


if __name__ == "__main__":
    run_job(main, snakemake)
