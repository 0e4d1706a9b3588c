"""Rule `parity_report`: hand the job's files and settings to the package; no logic here."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptycho_torch.runtime.jobs import run_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Hold training against inference, whatever comes out."""
    from ptycho_torch.infer.compare import report_parity

    report_parity(
        run=job.input.run,
        dataset=job.input.dataset,
        test=job.input.test,
        patches=job.input.patches,
        inference=Path(job.input.dump).parent,
        settings=job.params.settings,
        folder=Path(job.output.data).parent,
    )


if __name__ == "__main__":
    run_job(main, snakemake)
