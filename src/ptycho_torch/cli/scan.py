"""Commands on files of measurements that use a network, or none: `infer`, `reconstruct`."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field

from ptycho_torch.cli.options import (
    Conventions,
    Flags,
    Overwrite,
    PatchStats,
    ScanFile,
    WholeFile,
    messages,
    with_flags,
)
from ptycho_torch.config.base import Accelerator, Settings
from ptycho_torch.config.scan import InferSettings, RpieSettings

app = typer.Typer()


@app.command()
@with_flags
def infer(
    *,
    file: ScanFile,
    model: Annotated[
        Path, typer.Option(help="Bundle: folder of bundle.json, weights.safetensors.")
    ],
    output_dir: Annotated[Path, typer.Option(help="Folder for object.npz, report.json, pictures.")],
    overwrite: Overwrite = False,
    stats: Annotated[PatchStats, Flags(PatchStats)],
    debug_dump: Annotated[
        Path | None, typer.Option(help="Folder for a dump that `compare` takes (docs/own-data.md).")
    ] = None,
    settings: Annotated[InferSettings, Flags(InferSettings)],
    reading: WholeFile,
) -> None:
    """Reconstruct a measured scan with a trained bundle: one stitched object on its positions."""
    with messages():
        from ptycho_torch.infer.outputs import infer_file

        found = infer_file(
            model,
            file,
            output_dir,
            settings=settings,
            reading=reading,
            overwrite=overwrite,
            debug_dump=debug_dump,
            patch_stats_limit=stats.number,
        )
    report = found.report
    typer.echo(
        f"object of {report['shape'][0]}x{report['shape'][1]} px from {report['frames_used']} "
        f"frames, amplitude R factor {report['r_factor']:.4f}: {output_dir / 'object.npz'}"
    )


_RPIE_NAMES = {
    "iterations": "--iterations --passes",
    "probe_from_iteration": "--probe-from-iteration --probe-from-pass",
    "refine_probe": "--refine-probe/--known-probe",
}


class ReconstructOptions(Settings):
    """With what a scan is reconstructed, and on what."""

    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """CPU threads."""
    accelerator: Accelerator = "cpu"
    """Device of the iterations."""


_DEVICE = {"accelerator": "--accelerator --device"}


@app.command()
@with_flags
def reconstruct(
    *,
    file: ScanFile,
    output_dir: Annotated[Path, typer.Option(help="Folder for object.npz, picture and report.")],
    options: Annotated[ReconstructOptions, Flags(ReconstructOptions, names=_DEVICE)],
    overwrite: Overwrite = False,
    settings: Annotated[RpieSettings, Flags(RpieSettings, names=_RPIE_NAMES)],
    reading: Conventions,
) -> None:
    """Reconstruct a scan by rPIE: object, probe, error by iteration, and a picture."""

    def progress(number: int, error: float) -> None:
        # The first, every twentieth part of them, and the last.
        if number in (1, settings.iterations) or number % max(1, settings.iterations // 20) == 0:
            text = f"iteration {number} of {settings.iterations}: R factor {error:.4g}"
            typer.echo(text, err=True)

    with messages():
        from ptycho_torch.data.read import read_scan
        from ptycho_torch.reconstruct.run import reconstruct_scan
        from ptycho_torch.runtime.locks import choose_device

        report = reconstruct_scan(
            read_scan(file, reading),
            settings,
            folder=output_dir,
            threads=options.threads,
            device=choose_device(options.accelerator).type,
            overwrite=overwrite,
            on_iteration=progress,
        )
    typer.echo(
        f"{report['frames']} frames, {report['batch_size']} at once, "
        f"{report['iterations']} iterations in {sum(report['seconds']):.3g} s: R factor "
        f"{report['r_factor']:.4g}"
    )
    typer.echo(f"{output_dir / 'object.npz'}, reconstruction.png, report.json")
    if report["doubt"] is not None:
        typer.echo(report["doubt"])
