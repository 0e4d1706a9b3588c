"""What the diagnoses look at, and the thresholds beyond which they flag a number.

None of it reaches a training: the rules that simulate and train do not depend on this file.
"""

from typing import Annotated

from pydantic import Field, model_validator

from ptycho_torch.config.base import Count, Fraction, Name, Positive, Real, Seed, Settings
from ptycho_torch.config.stages import Seeds, repeated, seed_list


class DiagnosticsSettings(Settings):
    """Diagnoses of networks, fresh and trained: `snakemake diagnostics`, docs/diagnostics.md."""

    groups: Annotated[int, Field(ge=1, le=256)] = 16
    """Groups of the training split that every network sees; the same ones for all, and the bound
    on memory: every activation of that many groups exists at once."""

    groups_seed: Seed = 0
    """Draws those groups."""

    seeds: Seeds = 10
    """Seeds of fresh networks: a list, or how many (counted from 0); with seed n a fresh network
    has the weights that the run of seed n starts from."""

    depths: Annotated[list[Count], Field(min_length=1)] = [4, 8]
    """Fourier blocks at which fresh `hybrid`, `stable_hybrid` and `layerscale_hybrid` are
    compared."""

    stages: list[Name] | None = None
    """Stages whose trained runs are diagnosed; null: all of them; an empty list: none, which
    trains nothing."""

    min_gradient_ratio: Fraction = 0.1
    """Mean gradient modulus of spectral over that of local weights: flagged below this."""

    min_output_ratio: Fraction = 0.1
    """Mean output modulus of a block's spectral path over that of its local path: flagged below
    this."""

    max_p99_over_p50: Annotated[Real, Field(gt=1)] = 5.0
    """99th percentile of a layer's modulus over its median: flagged above this."""

    max_dc_share: Fraction = 0.5
    """Share of a layer's energy that the frames' means hold: flagged above this."""

    photon_tolerance: Positive = 0.01
    """The dataset's photons by Parseval may differ from those asked for by this fraction, beside
    what photon noise allows."""

    @property
    def seed_list(self) -> list[int]:
        """The seeds of fresh networks, spelled out."""
        return seed_list(self.seeds)

    @model_validator(mode="after")
    def _names_are_clear(self) -> "DiagnosticsSettings":
        repeated("depths", [str(depth) for depth in self.depths])
        repeated("stages", list(self.stages or []))
        return self
