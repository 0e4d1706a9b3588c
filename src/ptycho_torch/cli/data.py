"""Commands about data files: what they hold, how they are read, how two dumps compare."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ptycho_torch.cli.options import Conventions, Flags, Overwrite, ScanFile, checked
from ptycho_torch.config.base import merge
from ptycho_torch.config.dataset import DEFAULT, SimulatedDataset, SplitSeeds
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError

_SEEDS = {name: f"--{name}-seed" for name in SplitSeeds.model_fields}


def simulate(
    *,
    output_dir: Annotated[
        Path, typer.Option(help="Folder for train.npz, validation.npz, test.npz, dataset.json.")
    ],
    overwrite: Overwrite = False,
    frames: Annotated[dict[str, Any], Flags(DEFAULT, "Frames", ("source",))],
    thing: Annotated[dict[str, Any], Flags(DEFAULT.object, "Object")],
    probe: Annotated[dict[str, Any], Flags(DEFAULT.probe, "Probe", ("shape",))],
    scan: Annotated[dict[str, Any], Flags(DEFAULT.scan, "Scan")],
    seeds: Annotated[dict[str, Any], Flags(DEFAULT.seeds, "Seeds", names=_SEEDS)],
) -> None:
    """Simulate scans with a known truth: to train on, to validate and to test.

    Every command that takes measurements takes these files; the truth is in them, as `YY_full`.
    """
    given = {**frames, "object": thing, "probe": probe, "scan": scan, "seeds": seeds}
    settings = checked(SimulatedDataset, merge(DEFAULT.model_dump(), given))
    from ptycho_torch.simulate.dataset import SPLITS, simulate_dataset

    splits = {split: output_dir / f"{split}.npz" for split in SPLITS}
    names = ["dataset.json", *(path.name for path in splits.values())]
    summary = io.must_be_free(output_dir, names, overwrite=overwrite) / names[0]
    summary.unlink(missing_ok=True)
    simulate_dataset(settings, name="simulated", splits=splits, summary=summary)
    typer.echo(f"{', '.join(names)} in {output_dir}")


def check_data(*, file: ScanFile, reading: Conventions) -> None:
    """Read a file of measurements and say what it holds, or what is wrong with it."""
    from ptycho_torch.data.read import quiet_scan

    scan = quiet_scan(file, reading)
    typer.echo("\n  ".join([f"{file}: {scan.summary()}", *scan.notes]))
    typer.echo(f"sha256 {io.sha256(file)}")


def convert(
    *,
    source: ScanFile,
    target: Annotated[Path, typer.Argument(help="File to write, .npz.")],
    overwrite: Overwrite = False,
    halves: Annotated[
        bool, typer.Option("--halves", help="Write two halves, TARGET-a.npz and TARGET-b.npz.")
    ] = False,
    reading: Conventions,
) -> None:
    """Write a file of measurements of any layout as canonical NPZ, as it was read."""
    from ptycho_torch.data.write import convert_scan

    lines = convert_scan(source, target, reading, overwrite=overwrite, halves=halves)
    typer.echo("\n".join(lines))


def check(
    *,
    file: ScanFile,
    as_data: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
    reading: Conventions,
) -> None:
    """Try how a file can be read and say which conventions explain its frames best.

    Tries sign and order of the axes, corner or centre, half pixels, the place of the zero
    frequency, amplitudes or counts; what is given stays as it is. Ends with status 1 where two
    explain the frames equally well.
    """
    from ptycho_torch.reconstruct.check import check_file, table

    report = check_file(file, reading)
    typer.echo(json.dumps(report, indent=2) if as_data else table(report))
    if report["doubt"]:
        raise InputError(f"{file}: {report['doubt']}")
    if not as_data:
        typer.echo(f"read it with: {report['flags'] or 'no flags'}")


_DUMP = "folder with dump.json and arrays.npz, ours or another program's (docs/own-data.md)"


def compare(
    *,
    a: Annotated[Path, typer.Argument(help=f"Reference: {_DUMP}.")],
    b: Annotated[Path, typer.Argument(help=f"What is compared with it: {_DUMP}.")],
    tolerance: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="What a ratio may deviate from 1, an MAE be, an SSIM lack to 1."
        ),
    ] = 0.1,
    output_dir: Annotated[
        Path, typer.Option(help="Where compare.json, compare.md and compare.png go.")
    ] = Path("comparison"),
) -> None:
    """Compare two dumps by scale, variance and image; exit status 0: passed, 2: failed, 1: neither.

    1 is bad input: nothing was compared and nothing is written.
    """
    from ptycho_torch.infer import compare as comparing
    from ptycho_torch.infer.dump import read_dump

    record, images = comparing.compare(read_dump(a), read_dump(b), tolerance=tolerance)
    comparing.write_comparison(output_dir, record, images)
    typer.echo(comparing.comparison_text(record))
    if not record["passed"]:
        raise typer.Exit(2)


def compare_objects(
    *,
    a: Annotated[Path, typer.Argument(help="Reference: NPY, NPZ or HDF5, FILE or FILE:/NAME.")],
    b: Annotated[Path, typer.Argument(help="What is compared with it, of the same pixel size.")],
    output_dir: Annotated[
        Path, typer.Option(help="Where objects.json, objects.md, objects.png and frc.png go.")
    ] = Path("objects"),
) -> None:
    """Compare two reconstructions of one object, anyone's: shift, phase ramp and factor removed.

    Prints correlations, SSIM, and where the Fourier ring correlation falls under each threshold.
    """
    from ptycho_torch.evaluate import objects
    from ptycho_torch.files.pictures import draw_objects, draw_rings, save_png
    from ptycho_torch.runtime.markdown import render

    record, (first, second) = objects.compare_objects(a, b)
    text = render("infer", "objects.md.j2", **record)
    save_png(output_dir / "objects.png", draw_objects({"A": first, "B": second}, difference=True))
    save_png(output_dir / "frc.png", draw_rings(**record["frc"]))
    io.write_text(output_dir / "objects.md", text)
    io.write_json(output_dir / "objects.json", record)
    typer.echo(text)
