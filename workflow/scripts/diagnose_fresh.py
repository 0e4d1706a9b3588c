"""Rule `diagnose_fresh`: hand the job's files and settings to the package; no logic here."""

from typing import TYPE_CHECKING, Any

from ptycho_torch.config.evaluation import DiagnosticsSettings
from ptycho_torch.config.plan import UntrainedNetwork
from ptycho_torch.diagnose.networks import diagnose_untrained
from ptycho_torch.runtime.jobs import run_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    """Diagnose all untrained networks on one dataset."""
    networks = job.params.networks
    diagnose_untrained(
        {name: UntrainedNetwork.model_validate(value) for name, value in networks.items()},
        train=job.input.train,
        dataset=job.input.dataset,
        settings=DiagnosticsSettings.model_validate(job.params.settings),
        outputs={k: getattr(job.output, k) for k in ("gradients", "activations", "units")},
        threads=job.threads,
    )


if __name__ == "__main__":
    run_job(main, snakemake)
