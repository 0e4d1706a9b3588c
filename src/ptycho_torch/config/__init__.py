"""Settings of a study: frozen, strict, importable without torch.

Nothing is imported here but the base: whoever needs a block imports its module, so that an edit of
one block's class makes out of date only what reads that block.
"""

from ptycho_torch.config.base import InputError, Settings

__all__ = ["InputError", "Settings"]
