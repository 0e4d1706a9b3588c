"""Rule `real_data_train`: hand the job's files and settings to the package; no logic here."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptycho_torch.config.scan import FitSettings
from ptycho_torch.runtime.jobs import run_job
from ptycho_torch.runtime.locks import gpu_lease

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Fit one network."""
    settings = FitSettings.model_validate(job.params.fit)
    with gpu_lease(settings.execution.accelerator, devices=settings.execution.devices):
        # With torch comes CUDA, which reads once which GPUs it may see.
        from ptycho_torch.train.run import train_measurement

        train_measurement(
            settings,
            frames=job.input.frames,
            rpie=job.input.objects,
            folder=Path(job.output.run).parent,
        )


if __name__ == "__main__":
    run_job(main, snakemake)
