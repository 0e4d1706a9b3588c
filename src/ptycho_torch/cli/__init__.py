"""The command line, for people without Snakemake: `ptycho-torch --help`.

One module per family of commands; each imports what is slow (torch, h5py) inside its commands.
"""

import logging
import os
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


_SPELLINGS = {
    "--train-data-file": "--train-data",
    "--test-data-file": "--test-data",
    "--model-path": "--model",
    "--torch-loss-mode": "--loss",
}
"""What options are called elsewhere in the field, with dashes."""


def spelled(words: list[str]) -> list[str]:
    """Return arguments with options as they are called here: underscores in an option's name are
    dashes, and `--quiet` may stand anywhere."""
    found: list[str] = []
    for word in words:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            name = name.replace("_", "-")
            word = _SPELLINGS.get(name, name) + equals + value
        found.insert(0 if word == "--quiet" else len(found), word)
    return found


@app.callback()
def common(
    context: typer.Context,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print results and errors, and no messages on the way.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Which network and training policy reconstructs coherent diffraction data reliably?"""
    if quiet:
        logging.disable(logging.WARNING)
        context.call_on_close(lambda: logging.disable(logging.NOTSET))


def main() -> None:
    """Run the command line; a user's mistake is one line and exit status 1, and want of memory one
    line and `memory.OUT_OF_MEMORY`."""
    # Before torch is loaded: threads that wait let other programs have the core meanwhile.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        app(spelled(sys.argv[1:]), prog_name="ptycho-torch")
    except InputError as error:
        typer.echo(f"ptycho-torch: {error}", err=True)
        sys.exit(1)
    except Exception as error:
        short = memory.explain(error)
        if short is None and not isinstance(error, OSError):
            raise
        typer.echo(f"ptycho-torch: {short or error}", err=True)
        sys.exit(memory.OUT_OF_MEMORY if short else 1)
