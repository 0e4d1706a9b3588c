"""Rule `train`: hand the job's files and settings to the package; no logic here."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptycho_torch.config.training import RunSettings
from ptycho_torch.runtime.jobs import granted, run_job
from ptycho_torch.runtime.locks import gpu_lease

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Fit one run."""
    run = RunSettings.model_validate(job.params.run)
    with gpu_lease(run.execution.accelerator, devices=run.execution.devices):
        # With torch comes CUDA, which reads once which GPUs it may see.
        from ptycho_torch.train.run import train_run

        train_run(
            run,
            splits={split: getattr(job.input, split) for split in ("train", "validation", "test")},
            dataset=job.input.dataset,
            folder=Path(job.output.run).parent,
            threads=job.threads,
            low_memory=granted(job, "low_memory") > 0,
        )


if __name__ == "__main__":
    run_job(main, snakemake)
