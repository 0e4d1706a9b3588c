"""Rule `train`: hand the job's files and settings to the package; no logic here."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptycho_torch.config.training import RunSettings
from ptycho_torch.runtime.jobs import granted, run_job
from ptycho_torch.runtime.locks import gpu_lease

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Fit one run, or the runs of several seeds one after another."""
    run = RunSettings.model_validate(job.params.run)
    records = [job.output.run] if isinstance(job.output.run, str) else job.output.run
    folders = [Path(record).parent for record in records]
    with gpu_lease(run.execution.accelerator, devices=run.execution.devices):
        # With torch comes CUDA, which reads once which GPUs it may see.
        from ptycho_torch.train.run import forget_checkpoints, train_run

        splits = {split: getattr(job.input, split) for split in ("train", "validation", "test")}
        for folder in folders:
            seed = int(folder.name.removeprefix("seed-"))
            train_run(
                run.model_copy(update={"seed": seed}),
                splits=splits,
                dataset=job.input.dataset,
                folder=folder,
                threads=job.threads,
                low_memory=granted(job, "low_memory") > 0,
            )
        # Only now: Snakemake removes the files of a job that did not end, of all its seeds.
        for folder in folders:
            forget_checkpoints(folder)


if __name__ == "__main__":
    run_job(main, snakemake)
