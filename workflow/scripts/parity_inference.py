"""Rule `parity_inference`: hand the job's files and settings to the package; no logic here."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptycho_torch.config.scan import InferSettings
from ptycho_torch.runtime.jobs import run_job
from ptycho_torch.runtime.locks import gpu_lease

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Use a run's bundle on the test split and dump what it sees."""
    with gpu_lease(job.params.accelerator):
        # With torch comes CUDA, which reads once which GPUs it may see.
        from ptycho_torch.infer.dump import write_dump
        from ptycho_torch.infer.outputs import infer_split

        settings = InferSettings(accelerator=job.params.accelerator, threads=job.threads)
        dump = infer_split(Path(job.input.bundle).parent, job.input.test, settings)
        write_dump(Path(job.output.dump).parent, dump)


if __name__ == "__main__":
    run_job(main, snakemake)
