"""Which network: its name and size, and the geometry that follows, without torch."""

import hashlib
import importlib.util
import math
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field, model_validator

from ptycho_torch.config.base import Count, Depth, Settings
from ptycho_torch.runtime.errors import nearest

# Side at the deepest level when `levels` is not given.
_LEAST_SIDE_PX = 8
BLOCKS = ("hybrid", "stable_hybrid", "layerscale_hybrid", "depthscale_hybrid", "ffno_hybrid")
NAMES = (*BLOCKS, "fno")


def _known_or_own(name: str) -> str:
    if name not in NAMES and ":" not in name:
        raise ValueError(
            f"there is no generator '{name}'{nearest(name, list(NAMES))}; a network of your own is "
            "named 'package.module:Class'"
        )
    return name


def source_of(name: str) -> str:
    """Return the SHA-256 of the file that holds a class given as 'package.module:Class', which is
    not run, though its packages are imported; `ValueError` if there is no such module, or nothing
    of that name in it."""
    module, _, attribute = name.partition(":")
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None or not found.has_location:
        raise ValueError(
            f"'{name}': there is no module '{module}'; install its package, or set PYTHONPATH to "
            "the folder that holds it"
        )
    text = Path(str(found.origin)).read_bytes()
    if attribute.encode() not in text and b"import *" not in text:
        raise ValueError(f"'{name}' cannot be imported: '{module}' has no '{attribute}'")
    return hashlib.sha256(text).hexdigest()


class Sourced(Settings):
    """What a class of a user's own may be named in: with the checksum of that class's file in
    `source`, so that an edit of it is another run."""

    @model_validator(mode="before")
    @classmethod
    def _with_its_source(cls, block: Any) -> Any:
        key = "name" if "name" in cls.model_fields else "gradient_clip_algorithm"
        name = block.get(key) if isinstance(block, Mapping) else None
        if isinstance(name, str) and ":" in name and not block.get("source"):
            return {**block, "source": source_of(name)}
        return block


def imported(name: str) -> Any:
    """Return what 'package.module:Class' names; `ValueError` if it cannot be imported."""
    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"'{name}' cannot be imported: {error}") from None


class GeneratorSettings(Sourced):
    """A network that maps diffraction amplitudes to complex object patches."""

    name: Annotated[str, AfterValidator(_known_or_own)]
    """hybrid, stable_hybrid, layerscale_hybrid, depthscale_hybrid, ffno_hybrid, fno; or a network
    of your own, 'package.module:Class' (docs/own-network.md)."""
    settings: dict[str, Any] = {}
    """Of a network of your own: what its class takes beside `channels` and `patch_px`."""
    source: str | None = None
    """Of a network of your own: SHA-256 of its file, filled in, so that an edit trains anew."""
    width: Annotated[int, Field(ge=2)]
    """Channels at full resolution."""
    fno_blocks: Depth
    """Fourier blocks without the bottleneck; beyond `levels` they repeat, in the deepest first."""
    levels: Count | None = None
    """Resolutions of the U-shape; null: one a block, down to a side of 8 px. `fno`: null."""
    modes: Count
    """Low frequencies kept along each axis by a spectral layer."""
    spectral_rows: Literal["one_sided", "two_sided"] = "one_sided"
    """Rows 0..m-1 as in the first execution of the study, or also the negative rows -m..-1."""
    channel_cap: Count | None = None
    """Largest number of channels of a level; null: doubles at every level. `fno`: null."""
    input_transform: Literal["none", "sqrt", "log1p", "instance_norm"] = "none"
    """Applied to the diffraction amplitude before the network."""
    output_mode: Literal["real_imag", "amplitude_phase"] = "real_imag"
    """What the last layer's channels mean; amplitude = softplus, phase = pi * tanh."""

    @property
    def own(self) -> bool:
        """Whether it is a class from outside this package."""
        return ":" in self.name


class Level(NamedTuple):
    """One resolution of a generator: side in pixels, channels, Fourier blocks."""

    side_px: int
    channels: int
    blocks: int


def plan_levels(settings: GeneratorSettings, patch_px: int) -> list[Level]:
    """Return the levels that a generator is built of, finest first. `ValueError` if it cannot be
    built at this patch size: the reason, and what can."""
    width, blocks, most = settings.width, settings.fno_blocks, patch_px // 2 + 1
    if settings.modes > most:
        raise ValueError(
            f"modes of {settings.modes} are more than frames of {patch_px} px have: at most {most}"
        )
    if settings.name == "fno":
        if settings.levels or settings.channel_cap:
            raise ValueError("generator 'fno' has one resolution: no levels, no channel_cap")
        return [Level(patch_px, width, blocks)]
    deepest = int(math.log2(max(patch_px / _LEAST_SIDE_PX, 1))) + 1
    levels = settings.levels or min(blocks, deepest)
    if levels > blocks:
        raise ValueError(
            f"{levels} levels need at least {levels} Fourier blocks, got fno_blocks: {blocks}"
        )
    # Each halving takes an even side and leaves at least 2 px.
    most = next(n for n in range(1, patch_px + 1) if patch_px % 2**n or patch_px >> n < 2)
    if levels > most:
        raise ValueError(
            f"{levels} levels need {levels - 1} halvings of {patch_px} px, each of an even side "
            f"over 2 px; use at most {most} levels: more fno_blocks then repeat within a level"
        )
    cap = settings.channel_cap or width << levels
    base, extra = divmod(blocks, levels)
    return [
        Level(patch_px >> i, min(width << i, cap), base + (i >= levels - extra))
        for i in range(levels)
    ]
