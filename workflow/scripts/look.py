"""Checkpoint `look`: hand the job's files and settings to the package; no logic here."""

from typing import TYPE_CHECKING, Any

from ptycho_torch.report.collect import KINDS
from ptycho_torch.report.summarise.stage import write_look
from ptycho_torch.runtime.jobs import run_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Write which comparisons are still open."""
    write_look(
        {kind: getattr(job.input, kind) for kind in KINDS},
        dataset=job.input.dataset,
        study=job.params.study,
        stage=job.wildcards.stage,
        output=job.output.look,
    )


if __name__ == "__main__":
    run_job(main, snakemake)
