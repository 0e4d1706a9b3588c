"""The command line, for people without Snakemake: `ptycho-torch --help`.

One module per family of commands; each imports what is slow (torch, h5py) inside its commands.
"""

import errno
import logging
import os
import sys
from typing import Annotated, Any

import typer

from ptycho_torch import __version__
from ptycho_torch.cli import data, diagnose, scan, study
from ptycho_torch.cli.options import with_flags
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.jobs import logging_to, out_of_memory

# What options are called elsewhere in the field, without their dashes.
_SPELLINGS = {
    "train-data-file": "train-data",
    "test-data-file": "test-data",
    "model-path": "model",
    "torch-loss-mode": "loss",
}
# The option by which a command's FILE may be given as well.
_FILES = {"train": "train-data", "infer": "test-data", "diagnose": "data", "plan": "config"}


def _spelled(option: str) -> str:
    """Return an option's name as it is here, whether it was typed with underscores or dashes."""
    name = option.replace("_", "-")
    return _SPELLINGS.get(name, name)


class _Commands(typer.core.TyperGroup):
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Take out the option before a command's FILE, which makes it the argument."""
        name, command, words = super().resolve_command(ctx, args)
        left = []
        for word in words:
            option, _, value = word.partition("=")
            spelled = option.startswith("--") and _spelled(option[2:])
            left += [word] if spelled != _FILES.get(str(name)) else [value] if value else []
        return name, command, left


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"token_normalize_func": _spelled},
)
# In the order of the work.
for command in (
    *(data.simulate, data.check_data, data.check, data.convert),
    *(scan.reconstruct, scan.train, scan.infer, data.compare_objects, data.compare),
    *(study.check_config, study.plan),
):
    app.command()(with_flags(command))
probes = typer.Typer(no_args_is_help=True, help="Gradients and activations of one network.")
probes.command()(with_flags(diagnose.gradients))
probes.command()(with_flags(diagnose.activations))
app.add_typer(probes, name="diagnose")


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"ptycho-torch {__version__}")
        raise typer.Exit


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
    stderr = logging.StreamHandler(sys.stderr)
    context.with_resource(logging_to(stderr, layout="%(message)s"))
    if quiet:
        logging.disable(logging.WARNING)
        context.call_on_close(lambda: logging.disable(logging.NOTSET))


def main() -> None:
    """Run the command line; a user's mistake is one line and status 1, want of memory status 12."""
    # Before torch is loaded: threads that wait let other programs have the core meanwhile.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        # `--quiet` may stand anywhere.
        app(sorted(sys.argv[1:], key=lambda word: word != "--quiet"), prog_name="ptycho-torch")
    except Exception as error:
        short = out_of_memory(error)
        if short is None and not isinstance(error, (InputError, OSError)):
            raise
        typer.echo(f"ptycho-torch: {short or error}", err=True)
        sys.exit(errno.ENOMEM if short else 1)
