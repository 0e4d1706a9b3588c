"""Networks and training policies for ptychography, compared honestly.

`import ptycho_torch as pt` offers what is named below; each part is imported when it is first
used, so that nothing waits for torch without need.
"""

import pkgutil
import sys
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_OFFERED = {
    "FitSettings": "config.scan:FitSettings",
    "read_scan": "data.read:read_scan",
    "data_of_file": "data.training:data_of_file",
    "PtychoDataModule": "data.module:PtychoDataModule",
    "build_generator": "networks:build_generator",
    "PtychoModule": "train.module:PtychoModule",
    # Folders, which can be called: `pt.simulate()` is `simulate.dataset.simulate()`.
    **{"simulate": "simulate", "reconstruct": "reconstruct", "evaluate": "evaluate"},
}
__all__ = ["__version__", *_OFFERED]


def __getattr__(name: str) -> Any:
    if name not in _OFFERED:
        raise AttributeError(f"module 'ptycho_torch' has no attribute '{name}'")
    return pkgutil.resolve_name(f"ptycho_torch.{_OFFERED[name]}")


class _CallableFolder(ModuleType):
    """A folder that is called as the function of its own name, for `pt.simulate` and the like."""

    __function__: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return pkgutil.resolve_name(self.__function__)(*args, **kwargs)


def callable_as(folder: str, function: str) -> None:
    """Let the module `folder` be called as a function of it, "module:function"."""
    module = sys.modules[folder]
    module.__class__ = _CallableFolder
    vars(module)["__function__"] = f"{folder}.{function}"
