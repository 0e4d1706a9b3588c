"""Command `reconstruct`: a scan in, the object by a conventional engine out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ptycho_torch.cli.reading import with_reading
from ptycho_torch.config.reconstruct import RpieSettings
from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.runtime.errors import InputError

app = typer.Typer()

_DEFAULT = RpieSettings()


@app.command()
@with_reading
def reconstruct(
    *,
    file: Annotated[Path, typer.Argument(help="Measurements: NPZ or CXI; docs/files.md.")],
    output_dir: Annotated[Path, typer.Option(help="Folder for object.npz, picture and report.")],
    reading: ScanConventions,
    engine: Annotated[
        str,
        typer.Option(help="rpie (ours), ptychi-rpie or ptychi-lsqml (extra `baseline`)."),
    ] = "rpie",
    iterations: Annotated[
        int, typer.Option("--iterations", "--passes", help="Iterations over all frames.")
    ] = _DEFAULT.iterations,
    alpha: Annotated[
        float, typer.Option(help="Regularisation of the object's step, 0 to 1; 1 is ePIE.")
    ] = _DEFAULT.alpha,
    batch_size: Annotated[
        int, typer.Option(help="Frames updated together; 1: one by one, 0: all at once.")
    ] = 1,
    refine_probe: Annotated[
        bool, typer.Option("--refine-probe/--known-probe", help="Refine the probe, or keep it.")
    ] = _DEFAULT.refine_probe,
    probe_from_iteration: Annotated[
        int,
        typer.Option(
            "--probe-from-iteration",
            "--probe-from-pass",
            help="First iteration that refines the probe.",
        ),
    ] = _DEFAULT.probe_from_iteration,
    probe_scale: Annotated[
        str,
        typer.Option(
            help="given: the probe's power is in units of the frames; frames: scale it to theirs."
        ),
    ] = _DEFAULT.probe_scale,
    seed: Annotated[int, typer.Option(help="Seed of the order of frames.")] = _DEFAULT.seed,
    stop_change: Annotated[
        float,
        typer.Option(help="Stop when ten iterations lower the error by less than this; 0: never."),
    ] = _DEFAULT.stop_change,
    held_out: Annotated[
        int | None, typer.Option(help="Keep every n-th frame out and predict it at the end.")
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads.", min=1, max=1024)] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda; rpie only.")] = "cpu",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier reconstruction in the folder.")
    ] = False,
) -> None:
    """Reconstruct a scan by rPIE: object, probe, error by iteration, and a picture."""
    import logging

    from ptycho_torch.data.read import read_scan

    settings = _settings(
        iterations=iterations,
        alpha=alpha,
        batch_size=batch_size or None,
        refine_probe=refine_probe,
        probe_from_iteration=probe_from_iteration,
        probe_scale=probe_scale,
        seed=seed,
        stop_change=stop_change,
    )
    if engine not in ("rpie", "ptychi-rpie", "ptychi-lsqml"):
        raise InputError(f"--engine {engine}: expected rpie, ptychi-rpie or ptychi-lsqml")
    _check_device(device, engine)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("ptycho_torch").setLevel(logging.INFO)
    scan = read_scan(file, reading)
    from ptycho_torch.reconstruct.run import reconstruct_scan

    report = reconstruct_scan(
        scan,
        settings,
        folder=output_dir,
        engine=engine,  # type: ignore[arg-type]
        held_out=held_out,
        threads=threads,
        device=device,
        overwrite=overwrite,
        on_iteration=_progress(settings.iterations),
    )
    typer.echo(
        f"{report['frames_used']} of {report['frames']} frames, {report['iterations']} iterations "
        f"in {sum(report['seconds']):.3g} s: R factor {report['r_factor']:.4g}"
    )
    if report["r_factor_held_out"] is not None:
        typer.echo(f"R factor of the frames held out: {report['r_factor_held_out']:.4g}")
    typer.echo(f"{output_dir / 'object.npz'}, reconstruction.png, report.json")


def _settings(**values: Any) -> RpieSettings:
    """Return the settings; a value that cannot be names its flag."""
    from pydantic import ValidationError

    try:
        return RpieSettings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:  # Of two that do not go together; it names them.
            raise InputError(first["msg"].removeprefix("Value error, ")) from None
        flag = "--" + str(first["loc"][0]).replace("_", "-")
        raise InputError(f"{flag} {first['input']}: {first['msg'].lower()}") from None


def _check_device(device: str, engine: str) -> None:
    if device not in ("cpu", "cuda"):
        raise InputError(f"--device {device}: expected cpu or cuda")
    if device == "cpu":
        return
    if engine != "rpie":
        raise InputError(f"--device {device}: the adapter runs {engine} on the CPU alone")
    import torch

    if not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no CUDA device here; leave it out")


def _progress(iterations: int) -> Any:
    """Return what says an iteration's error: all of the first, then ever fewer, and the last."""

    def tell(number: int, error: float) -> None:
        step = max(1, iterations // 20)
        if number == 1 or number == iterations or number % step == 0:
            typer.echo(f"iteration {number} of {iterations}: R factor {error:.4g}", err=True)

    return tell
