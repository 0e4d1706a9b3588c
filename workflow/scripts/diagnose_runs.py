"""Rule `diagnose_runs`: hand the job's files and settings to the package; no logic here."""

from typing import TYPE_CHECKING, Any

from ptycho_torch.config.evaluation import DiagnosticsSettings
from ptycho_torch.diagnose.networks import diagnose
from ptycho_torch.runtime.jobs import run_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Diagnose all trained runs on one dataset."""
    diagnose(
        runs=job.input.runs,
        train=job.input.train,
        dataset=job.input.dataset,
        settings=DiagnosticsSettings.model_validate(job.params.settings),
        outputs={name: getattr(job.output, name) for name in ("gradients", "activations")},
        threads=job.threads,
    )


if __name__ == "__main__":
    run_job(main, snakemake)
