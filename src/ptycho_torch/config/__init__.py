"""Settings of a study: frozen, strict, importable without torch."""

from ptycho_torch.config.base import InputError, Settings
from ptycho_torch.config.stages import StagePlan, StageSettings
from ptycho_torch.config.study import RunSettings, Study

__all__ = ["InputError", "RunSettings", "Settings", "StagePlan", "StageSettings", "Study"]
