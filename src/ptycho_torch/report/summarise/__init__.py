"""Read the runs of a stage and say what its seeds support; torch-free."""

from ptycho_torch.report.summarise.stage import summarise_stage
from ptycho_torch.runtime.provenance import collect_provenance

__all__ = ["collect_provenance", "summarise_stage"]
