"""Rule `reconstruct`: hand the job's files and settings to the package; no logic here."""

from typing import TYPE_CHECKING, Any

from ptycho_torch.config.scan import ConventionalSettings
from ptycho_torch.reconstruct.run import reconstruct_test_split
from ptycho_torch.runtime.jobs import run_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Reconstruct one dataset's test split."""
    reconstruct_test_split(
        ConventionalSettings.model_validate(job.params.settings),
        test=job.input.test,
        dataset=job.input.dataset,
        outputs={name: getattr(job.output, name) for name in ("run", "patches", "objects")},
    )


if __name__ == "__main__":
    run_job(main, snakemake)
