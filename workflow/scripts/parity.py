"""Rule `parity`: hand the job's files and settings to the package; no logic here."""

from typing import TYPE_CHECKING, Any

from ptycho_torch.runtime.jobs import run_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Fail unless the report says that all agreed."""
    from ptycho_torch.infer.compare import require_parity

    require_parity(job.input.data, job.output.passed)


if __name__ == "__main__":
    run_job(main, snakemake)
