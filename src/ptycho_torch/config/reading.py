"""How a file of measurements is to be read, where the file itself cannot say."""

from typing import Annotated, Literal

from pydantic import Field

from ptycho_torch.config.base import Count, Positive, Settings

Format = Literal["auto", "npz", "cxi", "split", "tike"]


class Reading(Settings):
    """Conventions of a file. `auto` is told from the file and said; the rest is as given.

    Order: frames and positions are chosen (`scan_index`, `image`, `n_images`), counts become
    amplitudes, positions become corners in pixels (`units`, `origin`, `half_pixel`), are swapped,
    then flipped, and at last the detector is cut to `patch_px`.
    """

    format: Format = "auto"
    """Layout: npz (canonical NPZ of the field), cxi, split (docs/files.md), tike (data, scan,
    probe)."""

    values: Literal["auto", "amplitude", "intensity"] = "auto"
    """What a pixel holds. auto: whole numbers are counts, of which the root is taken; else as the
    layout has it."""

    zero_frequency: Literal["auto", "centre", "corner"] = "auto"
    """Where the direct beam is. auto: where the light is, if that is clear; else as the layout has
    it."""

    units: Literal["auto", "pixels", "metres"] = "auto"
    """Of positions. auto: metres in CXI, pixels of the object plane elsewhere."""

    pixel_m: Positive | None = None
    """Side of a pixel in the object plane, metres, before the detector is cut; wins over what the
    file says."""

    origin: Literal["auto", "corner", "centre", "middle"] = "auto"
    """What a position names: the upper left pixel of its window (corner), its pixel [N // 2]
    (centre), both counted from the object's pixel 0; or its centre counted from the middle of the
    object, or of the scan where there is no object (middle). auto: centre for npz, middle for cxi,
    corner else."""

    half_pixel: Literal[-1, 0, 1] = 0
    """Half pixels added to both coordinates: 1 where the middle of a window is at
    (N - 1) / 2, not at N / 2."""

    swap_axes: bool = False
    """Row and column change places, before the flips."""

    flip_rows: bool = False
    """Mirror the rows of the positions, in the object, or in the scan where there is none."""

    flip_columns: bool = False
    """Mirror the columns of the positions."""

    translation_sign: Literal[-1, 1] = 1
    """CXI only: (row, column) run along this sign times `translation` (y, x). Both signs fit the
    data alone equally well, with the twin image."""

    scan_index: Annotated[int, Field(ge=0)] | None = None
    """Which scan, of a file that holds several; by its number in `scan_index` or
    `object_index`."""

    image: Annotated[int, Field(ge=0)] = 0
    """Which image of a split, counted from 0."""

    n_images: Count | None = None
    """Only this many frames, the first ones; None: all."""

    patch_px: Count | None = None
    """Side of a frame after the detector was cut, pixels; None: as it is."""

    fit: Literal["crop", "bin"] = "crop"
    """How it is cut. crop: keeps the centre, the object's pixels become larger. bin: sums counts,
    the window becomes smaller, the object's pixels stay."""

    saturation_counts: Positive | None = None
    """Pixels with this intensity or more, as stored (amplitudes squared), are masked; None: only
    those at the largest value of their integer type."""
