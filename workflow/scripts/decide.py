"""Rule `decide`: hand the job's files and settings to the package; no logic here."""

from typing import TYPE_CHECKING, Any

from ptycho_torch.report.decide import write_decision
from ptycho_torch.runtime.jobs import run_job
from ptycho_torch.runtime.provenance import collect_provenance

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Decide, and say on which numbers."""
    write_decision(
        stage_a=job.input.stage_a,
        pivot=job.input.pivot,
        winner=job.input.winner,
        stress=job.input.stress or None,
        study=job.params.study,
        provenance=collect_provenance(job.params.command),
        outputs={"data": job.output.data, "prose": job.output.prose},
    )


if __name__ == "__main__":
    run_job(main, snakemake)
