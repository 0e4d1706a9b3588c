"""Rule `train`: hand the job's files and settings to the package; no logic here."""

from typing import TYPE_CHECKING, Any

from ptycho_torch.config.training import RunSettings
from ptycho_torch.runtime.gpus import gpu_lease
from ptycho_torch.runtime.jobs import granted, run_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Fit one run, or those of an arm that are trained together."""
    runs = [RunSettings.model_validate(run) for run in job.params.runs]
    names = ("run", "timing", "history", "bundle", "last", "patches")
    files = zip(*(listed(getattr(job.output, name)) for name in names), strict=True)
    with gpu_lease(runs[0].execution.accelerator):
        # With torch comes CUDA, which reads once which GPUs it may see.
        from ptycho_torch.train.fit import fit_runs

        fit_runs(
            runs,
            splits={split: getattr(job.input, split) for split in ("train", "validation", "test")},
            dataset=job.input.dataset,
            outputs=[dict(zip(names, of_run, strict=True)) for of_run in files],
            threads=job.threads,
            spare_memory=granted(job, "spare_memory") > 0,
        )


def listed(files: Any) -> list[str]:
    """Return the files of one name, which Snakemake gives as a text where there is one."""
    return [files] if isinstance(files, str) else list(files)


if __name__ == "__main__":
    run_job(main, snakemake)
