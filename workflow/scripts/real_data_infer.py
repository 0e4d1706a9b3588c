"""Rule `real_data_infer`: hand the job's files and settings to the package; no logic here."""

from typing import TYPE_CHECKING, Any

from ptycho_torch.config.scan import InferSettings
from ptycho_torch.files import io
from ptycho_torch.runtime.jobs import run_job
from ptycho_torch.runtime.locks import gpu_lease

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Use one network on every part."""
    accelerator = io.read_json(job.input.run)["settings"]["execution"]["accelerator"]
    with gpu_lease(accelerator):
        # With torch comes CUDA, which reads once which GPUs it may see.
        from ptycho_torch.data.write import PARTS
        from ptycho_torch.infer.outputs import infer_measurement

        infer_measurement(
            job.input.run,
            parts={part: getattr(job.input, part) for part in PARTS},
            outputs={"objects": job.output.objects, "report": job.output.report},
            settings=InferSettings(accelerator=accelerator, threads=job.threads),
        )


if __name__ == "__main__":
    run_job(main, snakemake)
