"""Commands about data files."""

from pathlib import Path
from typing import Annotated

import typer

from ptycho_torch import io

app = typer.Typer()


@app.command()
def check_data(
    file: Annotated[Path, typer.Argument(help="NPZ file of the layout in docs/files.md.")],
    patch_px: Annotated[int, typer.Option(help="Side of a patch, pixels.")],
    sha256: Annotated[str | None, typer.Option(help="Checksum that the file must have.")] = None,
) -> None:
    """Read a dataset split and say what it holds, or what is wrong with it."""
    import logging

    from ptycho_torch.dataset_file import read_split

    logging.basicConfig(format="%(levelname)s: %(message)s")
    split = read_split(file, patch_px=patch_px, sha256=sha256)
    groups, _, _, channels = split.arrays["diffraction"].shape
    typer.echo(
        f"{file}: {groups} groups of {channels} patches of {patch_px} px, norm_Y_I "
        f"{split.norm_Y_I:.6g}, intensity_scale {split.intensity_scale:.6g}"
    )
    typer.echo(f"sha256 {io.sha256(file)}")
