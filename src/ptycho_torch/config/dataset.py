"""What is simulated: object, probe, scan, photons, seeds; or files that others made."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ptycho_torch.config.base import Count, FilePath, Gridsize, Positive, Real, Seed, Settings
from ptycho_torch.config.scan import ScanConventions

PatchSide = Annotated[int, Field(ge=8)]
EdgePhase = Annotated[Real, Field(ge=-1000, le=1000)]


class ObjectSettings(Settings):
    """Random one-pixel lines, blurred: the "grid lines" object (docs/reference/physics.md)."""

    size_px: PatchSide
    """Side of the square object, pixels."""
    num_lines: Count = 400
    """Bresenham lines drawn on a canvas of twice the side, of which the centre is kept."""
    set_phi: bool
    """Give the object a phase; without it every phase metric is reported as not defined."""
    phase: Literal["from_amplitude", "independent"] = "from_amplitude"
    """Phase as a function of the amplitude, or drawn from a second line image."""


class ProbeSettings(Settings):
    """What every probe shares."""

    smoothing_sigma_px: Annotated[Real, Field(ge=0, le=100)] = 0.5
    """Sigma of a Gaussian blur before normalising, pixels; 0: none."""


class TriangleProbe(ProbeSettings):
    """Equilateral triangle with curved phase, whose twin fits worse (docs/reference/physics.md)."""

    shape: Literal["triangle"]
    circumradius: Annotated[Real, Field(ge=0.1, le=0.5)] = 0.325
    """Circumradius as a fraction of the patch side; dimensionless."""
    edge_phase_rad: EdgePhase = 3.2
    """Phase at the circumradius, growing with the square of the radius; radians."""


class DiskProbe(ProbeSettings):
    """Blurred disk; point-symmetric, so the twin image fits as well as the truth."""

    shape: Literal["disk"]
    edge_phase_rad: EdgePhase = 0.0
    """Phase at the disk's edge, growing with the square of the radius; radians; 0: ideal disk."""


class FileProbe(ProbeSettings):
    """The array `probeGuess` of an NPZ file: (H, W), or (M, H, W) for M incoherent modes."""

    shape: Literal["file"]
    path: FilePath
    """NPZ file with `probeGuess`, relative to the folder Snakemake runs in."""
    resize: Literal["refuse", "pad", "interpolate"] = "refuse"
    """If the size differs from `patch_px`: refuse; pad with zeros; or interpolate (cubic)."""


Probe = Annotated[TriangleProbe | DiskProbe | FileProbe, Field(discriminator="shape")]


class ScanSettings(Settings):
    """Where the patches lie: a raster of windows of `patch_px`."""

    gridsize: Gridsize = 1
    """Patches along each side of a group: 1, or 2 for groups of four (channels)."""
    train_step_px: Count
    """Step of the training scan, pixels."""
    test_step_px: Count
    """Step of validation and test scans, and side of a patch's tile when stitched; pixels."""
    group_offset_px: Count = 4
    """Distance of the patches within a group when `gridsize` is 2; pixels."""


class SplitSeeds(Settings):
    """Seeds of the random streams; the three objects must differ."""

    train: Seed = 1
    """Object of the training split."""
    test: Seed = 2
    """Object of the test split."""
    validation: Seed = 3
    """Object of the validation split."""
    noise: Seed = 0
    """Photon noise; each split draws from its own stream under this seed."""

    @model_validator(mode="after")
    def _objects_differ(self) -> Self:
        if len({self.train, self.test, self.validation}) < 3:
            raise ValueError(
                "train, test and validation need three different objects, got seeds "
                f"{self.train}, {self.test}, {self.validation}"
            )
        return self


class SimulatedDataset(Settings):
    """Three splits from three random objects, seen through one known probe."""

    source: Literal["simulated"]
    patch_px: PatchSide
    """Side N of a patch and of the detector, pixels."""
    images_per_split: Count = 1
    """Objects drawn for each split."""
    photons: Annotated[Real, Field(ge=1, le=1e15)] = 1e9
    """Mean number of photons of one diffraction pattern."""
    noise: Literal["poisson", "none"] = "poisson"
    """Photon counting noise on the patterns."""
    object: ObjectSettings
    probe: Probe
    scan: ScanSettings
    seeds: SplitSeeds = SplitSeeds()

    @property
    def room_px(self) -> int:
        """Distance between the first and the last place that a group of patches can have."""
        offset = self.scan.group_offset_px if self.scan.gridsize == 2 else 0
        return self.object.size_px - self.patch_px - offset

    def groups_per_image(self, step_px: int) -> int:
        """Return how many groups of patches a raster of this step takes from one object."""
        return int(self.room_px // step_px + 1) ** 2

    @property
    def stitched_px(self) -> int:
        """Side of the image that the tiles of a test scan make."""
        return int(self.room_px // self.scan.test_step_px + 1) * self.scan.test_step_px

    @model_validator(mode="after")
    def _patches_fit(self) -> Self:
        scan, room = self.scan, self.room_px
        if scan.gridsize == 2 and scan.group_offset_px >= self.patch_px:
            raise ValueError(
                f"scan.group_offset_px of {scan.group_offset_px} px leaves no overlap between "
                f"patches of {self.patch_px} px in a group; use less than {self.patch_px}"
            )
        for key, step in (("train", scan.train_step_px), ("test", scan.test_step_px)):
            if step > room:
                raise ValueError(
                    f"scan.{key}_step_px of {step} px takes one patch a row or none; object.size_px"
                    f" of {self.object.size_px} px has {room} px beside a patch or group of patches"
                )
        _tiles_fit(scan.test_step_px, self.patch_px, "scan.")
        return self


class DatasetFiles(Settings):
    """Three NPZ files of the layout in docs/reference/files.md that another program wrote."""

    source: Literal["files"]
    patch_px: PatchSide
    """Side of a patch that the files must have, pixels."""
    train: FilePath
    """Path of the training split."""
    validation: FilePath
    """Path of the validation split."""
    test: FilePath
    """Path of the test split; it needs `YY_full` and positions for scores."""
    test_step_px: Count
    """Step of the test scan, pixels."""
    photons: Positive = 1e9
    """Mean photons of a pattern, for files without `intensity_scale`."""
    reading: ScanConventions = ScanConventions()
    """Conventions that differ from docs/reference/files.md: `values`, `zero_frequency`, `origin`,
    `half_pixel`, `swap_axes`, `flip_rows`, `flip_columns`."""

    @model_validator(mode="after")
    def _patches_fit(self) -> Self:
        _tiles_fit(self.test_step_px, self.patch_px)
        known = {"values", "zero_frequency", "origin", "half_pixel"}
        known |= {"swap_axes", "flip_rows", "flip_columns"}
        if other := self.reading.model_dump(exclude_defaults=True).keys() - known:
            raise ValueError(f"reading.{min(other)} has no effect on splits")
        return self


def _tiles_fit(step_px: int, patch_px: int, block: str = "") -> None:
    if step_px > patch_px:
        raise ValueError(
            f"{block}test_step_px of {step_px} px leaves gaps between patches of {patch_px} px; "
            f"use at most {patch_px}"
        )


Dataset = Annotated[SimulatedDataset | DatasetFiles, Field(discriminator="source")]


DEFAULT = SimulatedDataset.model_validate(
    {
        "source": "simulated",
        "patch_px": 32,
        "object": {"size_px": 160, "num_lines": 100, "set_phi": True},
        "probe": {"shape": "triangle"},
        "scan": {"train_step_px": 4, "test_step_px": 5},
    }
)
"""Of the small study: lines with phase under a triangular probe, a thousand patterns of 32 px."""
