"""Command `reconstruct`: a scan in, the object by an iterative engine out."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import Field

from ptycho_torch.cli.options import Conventions, Flags, messages, with_flags
from ptycho_torch.config.base import Settings
from ptycho_torch.config.scan import RpieSettings
from ptycho_torch.runtime.errors import InputError

app = typer.Typer()

_RPIE_NAMES = {
    "iterations": "--iterations --passes",
    "probe_from_iteration": "--probe-from-iteration --probe-from-pass",
    "refine_probe": "--refine-probe/--known-probe",
}


class ReconstructOptions(Settings):
    """With what a scan is reconstructed, and on what."""

    engine: Literal["rpie", "ptychi-rpie", "ptychi-lsqml"] = "rpie"
    """rpie (ours), ptychi-rpie or ptychi-lsqml (extra `baseline`)."""
    held_out: int | None = None
    """Keep every n-th frame out and predict it at the end."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """CPU threads."""
    device: Literal["cpu", "cuda"] = "cpu"
    """cuda: rpie only."""

    def check_device(self) -> None:
        """Raise `InputError` if the device is not here, or not the engine's."""
        if self.device == "cpu":
            return
        if self.engine != "rpie":
            raise InputError(f"--device cuda: the adapter runs {self.engine} on the CPU alone")
        import torch

        if not torch.cuda.is_available():
            raise InputError("--device cuda: torch finds no CUDA device here; leave it out")


@app.command()
@with_flags
def reconstruct(
    *,
    file: Annotated[Path, typer.Argument(help="Measurements: NPZ or CXI; docs/own-data.md.")],
    output_dir: Annotated[Path, typer.Option(help="Folder for object.npz, picture and report.")],
    options: Annotated[ReconstructOptions, Flags(ReconstructOptions)],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier reconstruction in the folder.")
    ] = False,
    settings: Annotated[
        RpieSettings,
        Flags(RpieSettings, names=_RPIE_NAMES),
    ],
    reading: Conventions,
) -> None:
    """Reconstruct a scan by rPIE: object, probe, error by iteration, and a picture."""
    options.check_device()
    with messages():
        from ptycho_torch.data.read import read_scan

        scan = read_scan(file, reading)
        from ptycho_torch.reconstruct.run import reconstruct_scan

        report = reconstruct_scan(
            scan,
            settings,
            folder=output_dir,
            engine=options.engine,
            held_out=options.held_out,
            threads=options.threads,
            device=options.device,
            overwrite=overwrite,
            on_iteration=lambda number, error: _progress(number, settings.iterations, error),
        )
    typer.echo(
        f"{report['frames_used']} of {report['frames']} frames, {report['iterations']} iterations "
        f"in {sum(report['seconds']):.3g} s: R factor {report['r_factor']:.4g}"
    )
    if report["r_factor_held_out"] is not None:
        typer.echo(f"R factor of the frames held out: {report['r_factor_held_out']:.4g}")
    typer.echo(f"{output_dir / 'object.npz'}, reconstruction.png, report.json")


def _progress(number: int, iterations: int, error: float) -> None:
    """Print an iteration's error: the first, every twentieth part of them, and the last."""
    if number in (1, iterations) or number % max(1, iterations // 20) == 0:
        typer.echo(f"iteration {number} of {iterations}: R factor {error:.4g}", err=True)
