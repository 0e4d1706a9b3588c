"""Real measurements: which files, how they are read, split, reconstructed and scored.

Nothing here enters the study's own runs: the target is `real_data_summary`.
"""

from typing import Annotated, Any

from pydantic import Field

from ptycho_torch.config.base import (
    AtLeastOne,
    Checksum,
    Count,
    Different,
    Fraction,
    Gridsize,
    Line,
    Name,
    Names,
    NotNegative,
    Rising,
    Seeds,
    Settings,
    Share,
)
from ptycho_torch.config.scan import RpieSettings, ScanConventions

Range = Annotated[list[Share], Field(min_length=2, max_length=2), Rising]


class Measurement(Settings):
    """A file of measurements, and how it becomes frames."""

    about: Line = ""
    """What was measured, where, under which licence; for the summary."""
    address: Annotated[Line, Field(pattern="^https?://")]
    """Where the file is downloaded, unless the folder in PTYCHO_DATA has it."""
    sha256: Checksum
    """Checksum that it must have, wherever it comes from."""
    file: Name
    """Its name in that folder."""
    reading: ScanConventions
    """Conventions of the file; `patch_px` must be given, since networks are built for it."""


class RegionSettings(Settings):
    """Which frames are held out: those that were taken within one rectangle of the scan."""

    rows: Range = [0.1, 0.2]
    """First and last row, as shares of the scan's extent."""
    columns: Range = [0.0, 0.5]
    """First and last column, likewise."""
    gap_px: NotNegative | None = None
    """Frames nearer than this to a held-out or validation frame are not used, pixels; null: the
    radius that holds half of the probe's light."""


class RealDataScores(Settings):
    """Which pixels count."""

    lit_share: Fraction = 0.1
    """Objects are compared in the largest rectangle whose pixels all get this share of the
    brightest one's light, from the training frames and from each half of them."""
    known_share: Fraction = 0.001
    """Pixels with less light than this share predict frames by the object's mean."""


class RealDataSettings(Settings):
    """What `real_data_summary` makes: rPIE and networks on measured data."""

    measurements: Annotated[dict[Name, Measurement], AtLeastOne]
    """Measurements by name."""
    arms: Names
    """Entries of the block `arms` that are trained on each measurement."""
    gridsizes: Annotated[list[Gridsize], AtLeastOne, Different] = [1]
    """Each arm is trained at each: 1: single frames, 2: groups of four merged neighbours."""
    seeds: Seeds = [0]
    """How many, counted from 0, or which."""
    training: dict[str, Any] = {}
    """Keys of the block `training` that differ here, for every arm."""
    generator: dict[str, Any] = {}
    """Keys of the block `generator` that differ here, for every arm."""
    validation_fraction: Fraction = 0.1
    """Share of the training frames that choose the best epoch: one block at a corner."""
    held_out: RegionSettings = RegionSettings()
    rpie: RpieSettings = RpieSettings(iterations=40, batch_size=32, probe_from_iteration=2)
    scores: RealDataScores = RealDataScores()
    threads: Count = 1
    """CPU threads of rPIE; those of training are `execution.threads`."""

    @property
    def networks(self) -> dict[str, tuple[str, int]]:
        """Name -> (arm, gridsize); `-grid2` is for groups."""
        pairs = [(arm, size) for size in self.gridsizes for arm in self.arms]
        return {arm if size == 1 else f"{arm}-grid{size}": (arm, size) for arm, size in pairs}
