"""Settings of a study: frozen, strict, importable without torch."""

from ptycho_torch.config.base import InputError, Settings
from ptycho_torch.config.study import RunSettings, StageSettings, Study

__all__ = ["InputError", "RunSettings", "Settings", "StageSettings", "Study"]
