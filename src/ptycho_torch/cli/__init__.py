"""The command line, for people without Snakemake: `ptycho-torch --help`.

One module per family of commands; each imports what is slow (torch, h5py) inside its commands.
"""

import sys
from typing import Annotated

import typer

from ptycho_torch import __version__
from ptycho_torch.cli import data, diagnose, scan, study
from ptycho_torch.runtime import memory
from ptycho_torch.runtime.errors import InputError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for family in (study, data, scan):
    app.add_typer(family.app)
app.add_typer(diagnose.app, name="diagnose")


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"ptycho-torch {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Which network and training policy reconstructs coherent diffraction data reliably?"""


def main() -> None:
    """Run the command line; a user's mistake is one line and exit status 1, and want of memory one
    line and `memory.OUT_OF_MEMORY`."""
    try:
        app()
    except InputError as error:
        typer.echo(f"ptycho-torch: {error}", err=True)
        sys.exit(1)
    except Exception as error:
        short = memory.explain(error)
        if short is None and not isinstance(error, OSError):
            raise
        typer.echo(f"ptycho-torch: {short or error}", err=True)
        sys.exit(memory.OUT_OF_MEMORY if short else 1)
