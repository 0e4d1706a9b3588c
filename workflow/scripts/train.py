"""Rule `train`: hand the job's files and settings to the package; no logic here."""

from typing import TYPE_CHECKING, Any

from ptycho_torch.config import RunSettings
from ptycho_torch.gpus import gpu_lease
from ptycho_torch.jobs import run_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Fit one run."""
    run = RunSettings.model_validate(job.params.run)
    outputs = ("run", "timing", "history", "bundle", "last", "patches")
    with gpu_lease(run.execution.accelerator):
        # With torch comes CUDA, which reads once which GPUs it may see.
        from ptycho_torch.train.fit import fit_run

        fit_run(
            run,
            splits={split: getattr(job.input, split) for split in ("train", "validation", "test")},
            dataset=job.input.dataset,
            outputs={name: getattr(job.output, name) for name in outputs},
            threads=job.threads,
        )


if __name__ == "__main__":
    run_job(main, snakemake)
