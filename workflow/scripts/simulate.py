"""Rule `simulate`: hand the job's files and settings to the package; no logic here."""

from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from ptycho_torch.config.dataset import Dataset, DatasetFiles
from ptycho_torch.runtime.jobs import run_job
from ptycho_torch.simulate.dataset import SPLITS, simulate_dataset
from ptycho_torch.simulate.files import import_dataset

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Make, or take in, one dataset."""
    settings = TypeAdapter(Dataset).validate_python(job.params.settings)
    files: dict[str, Any] = {
        "name": job.wildcards.dataset,
        "splits": {split: getattr(job.output, split) for split in SPLITS},
        "summary": job.output.dataset,
    }
    if isinstance(settings, DatasetFiles):
        import_dataset(settings, **files)
    else:
        simulate_dataset(settings, **files)


if __name__ == "__main__":
    run_job(main, snakemake)
