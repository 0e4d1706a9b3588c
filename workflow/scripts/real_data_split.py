"""Rule `real_data_split`: hand the job's files and settings to the package; no logic here."""

from typing import TYPE_CHECKING, Any

from ptycho_torch.config.scan import RegionSettings, ScanConventions
from ptycho_torch.data.write import PARTS, write_parts
from ptycho_torch.runtime.jobs import run_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Split one measurement."""
    write_parts(
        job.input.measured,
        ScanConventions.model_validate(job.params.measurement["reading"]),
        RegionSettings.model_validate(job.params.region),
        {name: getattr(job.output, name) for name in (*PARTS, "split")},
        file=job.params.measurement["file"],
        sha256=job.params.measurement["sha256"],
    )


if __name__ == "__main__":
    run_job(main, snakemake)
