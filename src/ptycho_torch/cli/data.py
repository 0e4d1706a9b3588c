"""Commands about data files."""

from pathlib import Path
from typing import Annotated

import typer

from ptycho_torch.cli.reading import with_reading
from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError

app = typer.Typer()

ScanFile = Annotated[
    Path, typer.Argument(help="Measurements: NPZ (also packed by bzip2) or CXI; docs/data.md.")
]


@app.command()
@with_reading
def check_data(
    file: ScanFile,
    reading: ScanConventions,
    sha256: Annotated[str | None, typer.Option(help="Checksum that the file must have.")] = None,
) -> None:
    """Read a file of measurements and say what it holds, or what is wrong with it.

    For a split of the study `--patch-px` is the side that its patches must have; the detector of
    other files is cut to it.
    """
    import logging

    from ptycho_torch.data.read import is_split, read_scan

    logging.basicConfig(format="%(levelname)s: %(message)s")
    found = io.sha256(file)
    if sha256 is not None and found != sha256:
        raise InputError(
            f"{file}: SHA-256 is {found}, expected {sha256}; the file changed after it was "
            "written, or is another one: make it again"
        )
    if is_split(file):
        if reading.fit != "crop":
            raise InputError(
                f"{file}: --fit {reading.fit} has no effect here: of a split, --patch-px is the "
                "side that its patches must have; leave it out"
            )
        typer.echo(_split_line(file, reading.patch_px))
        reading = reading.model_copy(update={"patch_px": None})
    if not is_split(file) or "coords_offsets" in io.npz_keys(file):
        scan = read_scan(file, reading)
        typer.echo(f"{file}: {scan.summary()}")
        for note in scan.notes:
            typer.echo(f"  {note}")
    typer.echo(f"sha256 {found}")


def _split_line(file: Path, patch_px: int | None) -> str:
    """Return what a split of the study holds, in a line."""
    from ptycho_torch.data.dataset_file import read_split

    if patch_px is None:
        shape = io.read_npz(file, "diffraction")["diffraction"].shape
        patch_px = int(shape[1]) if len(shape) == 4 else 0
    split = read_split(file, patch_px=patch_px)
    groups, _, _, channels = split.arrays["diffraction"].shape
    return (
        f"{file}: {groups} groups of {channels} patches of {patch_px} px, norm_Y_I "
        f"{split.norm_Y_I:.6g}, intensity_scale {split.intensity_scale:.6g}"
    )


@app.command()
@with_reading
def convert(
    *,
    source: ScanFile,
    target: Annotated[Path, typer.Argument(help="File to write: .npz (canonical NPZ) or .cxi.")],
    reading: ScanConventions,
    wavelength_m: Annotated[
        float | None, typer.Option(help="For CXI: wavelength, metres; with the next two.")
    ] = None,
    distance_m: Annotated[
        float | None, typer.Option(help="For CXI: sample to detector, metres.")
    ] = None,
    detector_pixel_m: Annotated[
        float | None, typer.Option(help="For CXI: side of a detector pixel, metres.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the target if it is there already.")
    ] = False,
) -> None:
    """Write a file of measurements in another layout, and check what was written.

    The new file is read again and compared; where it has probe and object, the patterns that they
    predict are compared with the stored ones. A CXI file without a given geometry gets a made-up
    one, and says so.
    """
    from ptycho_torch.data.geometry import given_geometry
    from ptycho_torch.data.write import convert_scan

    geometry = given_geometry(wavelength_m, distance_m, detector_pixel_m)
    for line in convert_scan(source, target, reading, geometry, overwrite=overwrite):
        typer.echo(line)
