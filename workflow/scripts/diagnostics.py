"""Rule `diagnostics`: say what the diagnoses support, and what follows."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptycho_torch.runtime.jobs import run_job
from ptycho_torch.runtime.provenance import collect_provenance

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Write the decision and its figures into one folder."""
    from ptycho_torch.diagnose.decision import write_decision

    write_decision(
        gradients=job.input.gradients,
        activations=job.input.activations,
        units=job.input.units,
        runs=job.input.runs,
        histories=job.input.histories,
        study=job.params.study,
        provenance=collect_provenance(job.params.command),
        folder=Path(job.output.prose).parent,
    )


if __name__ == "__main__":
    run_job(main, snakemake)
