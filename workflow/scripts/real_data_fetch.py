"""Rule `real_data_fetch`: hand the job's files and settings to the package; no logic here."""

from typing import TYPE_CHECKING, Any

from ptycho_torch.files import io
from ptycho_torch.files.download import fetch
from ptycho_torch.runtime.jobs import run_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Fetch one measurement."""
    wanted = job.params.measurement
    said = {key: wanted[key] for key in ("address", "file", "sha256")}
    taken = fetch(job.output.measured, **said)
    io.write_json(job.output.source, {**said, "taken_from": taken})


if __name__ == "__main__":
    run_job(main, snakemake)
