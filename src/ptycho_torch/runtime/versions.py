"""Versions that a result depends on, as they stand in its JSON file."""

from types import ModuleType

from ptycho_torch import __version__


def versions(*modules: ModuleType) -> dict[str, str]:
    """Return the versions of this package and of modules, by name."""
    return {"ptycho_torch": __version__} | {one.__name__: one.__version__ for one in modules}
