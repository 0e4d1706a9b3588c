"""Checkpoint `stage_a_winner`: hand the job's files and settings to the package; no logic here."""

from typing import TYPE_CHECKING, Any

from ptycho_torch.report.decide import write_winner
from ptycho_torch.runtime.jobs import run_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Write who won Stage A, and why."""
    write_winner(job.input.runs, job.params.plan, job.output.winner)


if __name__ == "__main__":
    run_job(main, snakemake)
