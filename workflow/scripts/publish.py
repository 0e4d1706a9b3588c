"""Rule `study_page`: write the whole study as one page."""

from typing import TYPE_CHECKING, Any

from ptycho_torch.report.page import publish_page
from ptycho_torch.runtime.jobs import run_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Write the page."""
    publish_page(job.input.documents, job.output.page)


if __name__ == "__main__":
    run_job(main, snakemake)
