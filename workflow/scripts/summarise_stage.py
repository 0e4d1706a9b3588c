"""Rules `<stage>_summary`: say what the seeds of a stage support."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptycho_torch.report.summarise import collect_provenance, summarise_stage
from ptycho_torch.runtime.jobs import run_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Write the summary, its tables and its figures into one folder."""
    summarise_stage(
        metrics=job.input.metrics,
        runs=job.input.runs,
        timings=job.input.timings,
        histories=job.input.histories,
        reconstructions=job.input.reconstructions,
        dataset=job.input.dataset,
        conventional=job.input.conventional,
        study=job.params.study,
        stage=job.params.stage,
        provenance=collect_provenance(job.params.command),
        folder=Path(job.output.summary).parent,
        winner=job.input.winner or None,
    )


if __name__ == "__main__":
    run_job(main, snakemake)
