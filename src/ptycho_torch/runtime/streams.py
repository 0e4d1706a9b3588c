"""Named random streams: everything random has a seed and a purpose."""

import hashlib

import numpy as np
from numpy.random import Generator, default_rng


def named_stream(seed: int, *names: str | int) -> Generator:
    """Return the generator of one purpose under a root seed: same seed and names, same numbers."""
    digest = hashlib.sha256("/".join(map(str, (seed, *names))).encode()).digest()
    return default_rng(np.frombuffer(digest, dtype="<u4").tolist())


def named_seed(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed of one purpose, for libraries that want a number."""
    return int(named_stream(seed, *names).integers(2**63))
