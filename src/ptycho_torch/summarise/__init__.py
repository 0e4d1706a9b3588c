"""Read the runs of a stage and say what its seeds support; torch-free."""

from ptycho_torch.provenance import collect_provenance
from ptycho_torch.summarise.stage import summarise_stage

__all__ = ["collect_provenance", "summarise_stage"]
