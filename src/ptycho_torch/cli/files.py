"""Training and inference on files of measurements that the study did not make."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ptycho_torch.cli.reading import with_reading
from ptycho_torch.config.scan import FitSettings, InferSettings, ScanConventions
from ptycho_torch.runtime.errors import InputError

app = typer.Typer()

_FIT = FitSettings(name="defaults")
_INFER = InferSettings()
_STATISTICS_OF = 16
Accelerator = Literal["auto", "cpu", "gpu", "mps"]
Data = "NPZ (also packed by bzip2) or CXI of a scan (docs/data.md)"


def _option(text: str, *names: str, panel: str | None = None) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel)


_NETWORK, _TRAINING, _DATA = "Network", "Training", "Frames"

PatchStats = Annotated[
    bool, _option("Write statistics of patches and a picture of them.", "--log-patch-stats")
]
PatchStatsLimit = Annotated[
    int | None, typer.Option(help="Patches that these look at (else 16).", min=1)
]


def _statistics_of(wanted: bool, limit: int | None) -> int | None:
    """Return how many patches statistics are taken of; None: none."""
    if limit is not None and not wanted:
        raise InputError("--patch-stats-limit is of --log-patch-stats: give both, or neither")
    return (limit or _STATISTICS_OF) if wanted else None


def _train(
    *,
    train_data: Annotated[Path, _option(f"Training data: {Data}.")],
    output_dir: Annotated[Path, _option("Folder for bundle, run.json, history.csv, pictures.")],
    reading: ScanConventions,
    test_data: Annotated[
        Path | None, _option("Test data; predicted after training, selects nothing.")
    ] = None,
    overwrite: Annotated[
        bool, _option("Replace the results of an earlier run in the folder.", "--overwrite")
    ] = False,
    log_patch_stats: PatchStats = False,
    patch_stats_limit: PatchStatsLimit = None,
    config: Annotated[
        Path | None, _option("Study in YAML whose settings are taken; with --arm.")
    ] = None,
    arm: Annotated[str | None, _option("Arm of the study in --config.")] = None,
    gridsize: Annotated[
        int, _option("1: single frames, 2: groups of four neighbours.", panel=_DATA)
    ] = _FIT.groups.gridsize,
    n_images: Annotated[
        int | None,
        _option("Groups (frames at gridsize 1) to train on; all if not given.", panel=_DATA),
    ] = None,
    neighbor_count: Annotated[
        int, _option("Nearest neighbours that groups are drawn from, >= 4.", panel=_DATA)
    ] = _FIT.groups.neighbor_count,
    validation_fraction: Annotated[
        float, _option("Share of frames kept out of training, as one block.", panel=_DATA)
    ] = _FIT.validation_fraction,
    gap_px: Annotated[
        float | None,
        _option("Unused frames around that block, pixels; the probe's reach.", panel=_DATA),
    ] = None,
    photons: Annotated[
        float, _option("Mean photons of a frame where the file does not say.", panel=_DATA)
    ] = _FIT.photons,
    batch_size: Annotated[int | None, _option("Groups a step (else 16).", panel=_TRAINING)] = None,
    max_epochs: Annotated[int | None, _option("Epochs (else 50).", panel=_TRAINING)] = None,
    loss: Annotated[
        Literal["mae", "poisson"] | None, _option("Loss (else mae).", panel=_TRAINING)
    ] = None,
    learning_rate: Annotated[
        float | None, _option("Of the optimiser (else Adam, 1e-3).", panel=_TRAINING)
    ] = None,
    clip: Annotated[
        Literal["none", "norm", "value", "agc"] | None,
        _option("Gradient clipping (else none).", panel=_TRAINING),
    ] = None,
    clip_value: Annotated[
        float | None,
        _option("Its bound: norm, value, or AGC's ratio.", panel=_TRAINING),
    ] = None,
    intensity_scale: Annotated[
        Literal["fixed", "learned"] | None,
        _option("s as measured, or trained with the weights (else fixed).", panel=_TRAINING),
    ] = None,
    object_big: Annotated[
        bool | None,
        _option("Merge a group's patches before the physics (else yes).", panel=_TRAINING),
    ] = None,
    seed: Annotated[int, _option("Of weights, order, block, groups.", panel=_TRAINING)] = 0,
    accelerator: Annotated[
        Accelerator | None, _option("Device (else auto).", panel=_TRAINING)
    ] = None,
    deterministic: Annotated[
        bool | None, _option("The same run twice gives the same bytes (else yes).", panel=_TRAINING)
    ] = None,
    threads: Annotated[int | None, _option("CPU threads (else 2).", panel=_TRAINING)] = None,
    checkpointing: Annotated[
        bool | None, _option("Less memory for a third more work (else no).", panel=_TRAINING)
    ] = None,
    generator: Annotated[
        Literal["hybrid", "stable_hybrid", "layerscale_hybrid", "fno"] | None,
        _option("Network (else hybrid).", panel=_NETWORK),
    ] = None,
    width: Annotated[int | None, _option("Channels (else 32).", panel=_NETWORK)] = None,
    blocks: Annotated[int | None, _option("Fourier blocks (else 4).", panel=_NETWORK)] = None,
    modes: Annotated[int | None, _option("Fourier modes kept (else 12).", panel=_NETWORK)] = None,
) -> None:
    """Train a network on a measured scan, without labels; exit status 0 also if it diverges.

    What stands after `else` holds if neither the option nor --config says otherwise.
    """
    from ptycho_torch.cli.terminal import said
    from ptycho_torch.config.resolve import Asked, resolve

    settings = resolve(
        Asked(
            name=train_data.name, config=config, arm=arm, seed=seed,
            groups={
                "gridsize": gridsize, "n_images": n_images, "neighbor_count": neighbor_count,
            },
            data={
                "validation_fraction": validation_fraction, "gap_px": gap_px, "photons": photons,
            },
            generator={"name": generator, "width": width, "fno_blocks": blocks, "modes": modes},
            training={
                "batch_size": batch_size, "epochs": max_epochs, "loss": loss,
                "intensity_scale": intensity_scale, "object_big": object_big,
            },
            execution={
                "accelerator": accelerator, "deterministic": deterministic, "threads": threads,
                "checkpointing": checkpointing,
            },
            learning_rate=learning_rate, clip=clip, clip_value=clip_value,
        )
    )  # fmt: skip
    with said():
        from ptycho_torch.data.training import data_of_file
        from ptycho_torch.train.run import train_scan

        data = data_of_file(train_data, settings, test_data=test_data, reading=reading)
        record = train_scan(
            data,
            settings,
            output_dir,
            overwrite=overwrite,
            progress=sys.stderr.isatty(),
            patch_stats_limit=_statistics_of(log_patch_stats, patch_stats_limit),
        )
    best = "no epoch was finished"
    if record["best_val_loss"] is not None:
        best = (
            f"best {record['val_loss_name']} {record['best_val_loss']:.4g} in epoch "
            f"{record['best_epoch']}"
        )
    reason = f" ({record['failure']['reason']})" if record["failure"] else ""
    typer.echo(f"{record['outcome']}{reason}: {best}; bundle in {output_dir / 'bundle'}")


def _infer(
    *,
    model: Annotated[Path, _option("Bundle: folder of bundle.json and weights.safetensors.")],
    test_data: Annotated[Path, _option(f"Scan to reconstruct: {Data}.")],
    output_dir: Annotated[Path, _option("Folder for object.npz, report.json, pictures.")],
    reading: ScanConventions,
    overwrite: Annotated[
        bool, _option("Replace the results of an earlier inference in the folder.", "--overwrite")
    ] = False,
    log_patch_stats: PatchStats = False,
    patch_stats_limit: PatchStatsLimit = None,
    debug_dump: Annotated[
        Path | None, _option("Folder for a dump that `compare` takes (docs/parity.md).")
    ] = None,
    scale: Annotated[
        str,
        _option(
            "How frames come into the bundle's units: stored (by their photons and the bundle's "
            "s), measured (on this file), a number (s of this file: (s A)^2 are photons), or auto: "
            "stored where the file says its photons, else measured."
        ),
    ] = "auto",
    probe: Annotated[
        Literal["bundle", "file"], _option("Whose probe weighs patches and predicts frames.")
    ] = _INFER.probe,
    n_images: Annotated[
        int | None, _option("Groups (frames at gridsize 1) to use; all if not given.")
    ] = None,
    neighbor_count: Annotated[
        int, _option("Nearest neighbours that groups are drawn from, >= 4.")
    ] = _INFER.neighbor_count,
    seed: Annotated[int, _option("Of the groups.")] = _INFER.seed,
    batch_size: Annotated[int, _option("Groups the network sees at once.")] = _INFER.batch_size,
    accelerator: Annotated[Accelerator, _option("Device.")] = _INFER.accelerator,
    threads: Annotated[int, _option("CPU threads.")] = _INFER.threads,
) -> None:
    """Reconstruct a measured scan with a trained bundle: one stitched object on its positions."""
    from ptycho_torch.cli.terminal import said
    from ptycho_torch.config.resolve import infer_settings

    settings = infer_settings(
        scale=scale, probe=probe, n_images=n_images, neighbor_count=neighbor_count, seed=seed,
        batch_size=batch_size, accelerator=accelerator, threads=threads,
    )  # fmt: skip
    with said():
        from ptycho_torch.infer.outputs import infer_file

        found = infer_file(
            model,
            test_data,
            output_dir,
            settings=settings,
            reading=reading,
            overwrite=overwrite,
            debug_dump=debug_dump,
            patch_stats_limit=_statistics_of(log_patch_stats, patch_stats_limit),
        )
    report = found.report
    typer.echo(
        f"object of {report['shape'][0]}x{report['shape'][1]} px from {report['frames_used']} "
        f"frames, amplitude R factor {report['r_factor']:.4f}: {output_dir / 'object.npz'}"
    )


app.command("train")(with_reading(_train, without=("n_images",)))
app.command("infer")(with_reading(_infer, without=("n_images",)))
