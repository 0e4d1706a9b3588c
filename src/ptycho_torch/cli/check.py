"""The convention self-test of a file of measurements."""

import json
from typing import Annotated

import typer

from ptycho_torch.cli.data import ScanFile
from ptycho_torch.cli.reading import with_reading
from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.runtime.errors import InputError

app = typer.Typer()


@app.command()
@with_reading
def check(
    file: ScanFile,
    reading: ScanConventions,
    as_data: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
) -> None:
    """Try how a file can be read and say which reading explains its frames best.

    Tries sign and order of the axes, corner or centre, half pixels, the place of the zero
    frequency, amplitudes or counts; what is given stays as it is. Ends with status 1 where two
    readings explain the frames equally well.
    """
    from ptycho_torch.reconstruct.check import check_file, flags

    report = check_file(file, reading)
    if as_data:
        typer.echo(json.dumps(report.as_json(), indent=2))
    else:
        for line in report.table():
            typer.echo(line)
    if report.doubt:
        raise InputError(f"{file}: {report.doubt}")
    if not as_data:
        typer.echo(f"read it with: {flags(report.conventions) or 'no flags'}")
