"""Rule `diagnose_fresh`: hand the job's files and settings to the package; no logic here."""

from typing import TYPE_CHECKING, Any

from ptycho_torch.config.evaluation import DiagnosticsSettings
from ptycho_torch.config.plan import UntrainedNetwork
from ptycho_torch.diagnose.networks import diagnose
from ptycho_torch.runtime.jobs import run_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Diagnose all untrained networks on one dataset."""
    settings = DiagnosticsSettings.model_validate(job.params.settings)
    networks = {
        name: UntrainedNetwork.model_validate(value) for name, value in job.params.networks.items()
    }
    diagnose(
        networks=networks,
        train=job.input.train,
        dataset=job.input.dataset,
        settings=settings,
        outputs={k: getattr(job.output, k) for k in ("gradients", "activations", "units")},
        threads=job.threads,
    )


if __name__ == "__main__":
    run_job(main, snakemake)
