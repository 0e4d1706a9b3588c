"""Commands on files of measurements: train a network, use one, or reconstruct iteratively."""

import logging
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import Field

from ptycho_torch.cli.options import Conventions, Flags, Overwrite, ScanFile, checked
from ptycho_torch.config.base import Accelerator, Count, Positive, Settings, merge
from ptycho_torch.config.read import read_study
from ptycho_torch.config.scan import FitSettings, InferSettings, RpieSettings, ScanConventions
from ptycho_torch.config.study import derive
from ptycho_torch.runtime.errors import InputError, nearest

_DEFAULTS = FitSettings()
_Given = dict[str, Any]
_BOUNDS = {"norm": "max_norm", "value": "max_value", "agc": "max_ratio"}
_PRESETS: dict[str | None, dict[str, dict[str, Any]]] = {
    "quick": {
        "generator": {"name": "stable_hybrid", "width": 8, "modes": 8},
        "training": {"epochs": 30, "optimizer": {"learning_rate": 8e-3}},
    }
}
# `--n-images` says how many groups are used, so the file is read whole.
WholeFile = Annotated[
    ScanConventions, Flags(ScanConventions, "How the file is read", without=("n_images",))
]


class PatchStats(Settings):
    """Statistics of patches, beside the results."""

    log_patch_stats: bool = False
    """Write statistics of patches and a picture of them."""
    patch_stats_limit: Count = 16
    """Patches that these look at."""

    @property
    def number(self) -> int | None:
        """How many patches are looked at; None: none."""
        return self.patch_stats_limit if self.log_patch_stats else None


class CliOptions(Settings):
    """Options of a training that are no setting by themselves."""

    preset: Literal["quick", "full"] | None = None
    """quick: a small network for 30 epochs, some minutes on a CPU; full: the defaults."""
    config: Path | None = None
    """Study in YAML whose settings are taken; with --arm."""
    arm: str | None = None
    """Arm of the study in --config."""
    learning_rate: Positive | None = None
    """Of the optimiser (else 0.001)."""
    clip: Literal["none", "norm", "value", "agc"] | None = None
    """Gradient clipping (else none)."""
    clip_value: Positive | None = None
    """Its bound: norm, value, or AGC's ratio."""
    rpie_iterations: Annotated[int, Field(ge=0)] = 30
    """Iterations of rPIE, beside which the network's object is drawn at the end; 0: no picture."""

    def settings(self, given: _Given) -> FitSettings:
        """Return the settings in force: an arm's, or the defaults, then the preset's, then those
        given, as in `FitSettings`, then these. `InputError` names an arm or key that cannot be.
        """
        if (self.config is None) != (self.arm is None):
            raise InputError("--config and --arm belong together: a study and one of its arms")
        if (self.clip in (None, "none")) != (self.clip_value is None):
            raise InputError("--clip and --clip-value belong together: a rule, and its bound")
        found: _Given = {}
        if self.config is not None:
            arm, blocks = str(self.arm), derive(read_study(self.config)).blocks
            if arm not in blocks:
                raise InputError(f"{self.config}: no arm '{arm}'{nearest(arm, list(blocks))}")
            found = {"arm": arm, **blocks[arm]}
        own: _Given = {}
        if self.learning_rate is not None:
            own["training"] = {"optimizer": {"learning_rate": self.learning_rate}}
        if self.clip is not None:
            bound = {} if self.clip == "none" else {_BOUNDS[self.clip]: self.clip_value}
            own["execution"] = {"clip": {"gradient_clip_algorithm": self.clip, **bound}}
        for over in (_PRESETS.get(self.preset, {}), given, own):
            found = merge(found, over)
        return checked(FitSettings, found)


def train(
    *,
    file: ScanFile,
    output_dir: Annotated[Path, typer.Option(help="Folder for bundle, run.json, history.csv.")],
    test_data: Annotated[
        Path | None, typer.Option(help="Test data; predicted after training, selects nothing.")
    ] = None,
    overwrite: Overwrite = False,
    stats: Annotated[PatchStats, Flags(PatchStats)],
    options: Annotated[CliOptions, Flags(CliOptions)],
    groups: Annotated[_Given, Flags(_DEFAULTS.groups, "Frames")],
    data: Annotated[_Given, Flags(_DEFAULTS, "Frames", ("name", "arm"))],
    training: Annotated[_Given, Flags(_DEFAULTS.training, "Training")],
    execution: Annotated[_Given, Flags(_DEFAULTS.execution, "Device")],
    generator: Annotated[_Given, Flags(_DEFAULTS.generator, "Network", ("source",))],
    reading: WholeFile,
) -> None:
    """Train a network on a measured scan, without labels; exit status 0 also if it diverges.

    A default holds where neither the option nor --config says otherwise.
    """
    blocks = {"groups": groups, "generator": generator, "training": training}
    settings = options.settings({**data, **blocks, "execution": execution})
    from ptycho_torch.data.training import data_of_file
    from ptycho_torch.train.run import train_scan

    record = train_scan(
        data_of_file(file, settings, test_data=test_data, reading=reading),
        settings,
        output_dir,
        overwrite=overwrite,
        progress=sys.stderr.isatty(),
        patch_stats_limit=stats.number,
    )
    best = "no epoch ended"
    if (loss := record["best_val_loss"]) is not None:
        best = f"best {record['val_loss_name']} {loss:.4g} in epoch {record['best_epoch']}"
    reason = f" ({record['failure']['reason']})" if record["failure"] else ""
    typer.echo(f"{record['outcome']}{reason}: {best}; bundle in {output_dir / 'bundle'}")
    pictures = ["patches.png"] if stats.number else []
    if options.rpie_iterations and record["outcome"] == "completed":
        typer.echo(_beside_rpie(file, reading, settings, options.rpie_iterations, output_dir))
        pictures.insert(0, "objects.png")
    if pictures:
        typer.echo(f"pictures: {', '.join(str(output_dir / name) for name in pictures)}")


def _beside_rpie(
    file: Path, reading: ScanConventions, settings: FitSettings, iterations: int, folder: Path
) -> str:
    """Draw the trained network's object of a scan beside rPIE's, and return both R factors."""
    from ptycho_torch.data.read import read_scan
    from ptycho_torch.files.pictures import draw_objects, save_png
    from ptycho_torch.infer.run import infer_scan
    from ptycho_torch.networks.bundle import read_bundle
    from ptycho_torch.physics.predict import r_factor
    from ptycho_torch.reconstruct.rpie import reconstruct

    scan, execution = read_scan(file, reading), settings.execution
    how = InferSettings(accelerator=execution.accelerator, threads=execution.threads)
    seen = infer_scan(read_bundle(folder / "bundle"), scan, how)
    made = reconstruct(scan, RpieSettings(iterations=iterations))
    rpie = f"rPIE, {iterations} iterations"
    figure = draw_objects({rpie: made.known_YX, "network": seen.stitched.known_YX})
    save_png(folder / "objects.png", figure)
    found = r_factor(made.predict(scan.positions_n2), scan.amplitude_nHW, scan.good_1HW)
    alone = settings.groups.gridsize == 1
    return (
        f"amplitude R factor of all frames, by the network's object {seen.report['r_factor']:.4f}"
        f"{', in which nothing ties the phases of patches (--gridsize 2)' if alone else ''}; by "
        f"rPIE's {found:.4f} ({iterations} iterations, {sum(made.seconds):.2g} s)"
    )


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
    from ptycho_torch.infer.outputs import infer_file

    report = infer_file(
        model,
        file,
        output_dir,
        settings=settings,
        reading=reading,
        overwrite=overwrite,
        debug_dump=debug_dump,
        patch_stats_limit=stats.number,
    ).report
    typer.echo(
        f"object of {report['shape'][0]}x{report['shape'][1]} px from {report['frames_used']} "
        f"frames, amplitude R factor {report['r_factor']:.4f}: {output_dir / 'object.npz'}"
    )


class Device(Settings):
    """With what a scan is reconstructed."""

    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """CPU threads."""
    accelerator: Accelerator = "cpu"
    """Device of the iterations."""


def reconstruct(
    *,
    file: ScanFile,
    output_dir: Annotated[Path, typer.Option(help="Folder for object.npz, picture and report.")],
    device: Annotated[Device, Flags(Device)],
    overwrite: Overwrite = False,
    settings: Annotated[RpieSettings, Flags(RpieSettings)],
    reading: Conventions,
) -> None:
    """Reconstruct a scan by rPIE: object, probe, error by iteration, and a picture."""
    total = settings.iterations

    def progress(number: int, error: float) -> None:
        # Every one of 20, and of more about 20.
        if number % -(-total // 20) == 0 or number == total:
            line = "iteration %d of %d: R factor %.4g, as met during it"
            logging.getLogger(__name__).info(line, number, total, error)

    from ptycho_torch.data.read import read_scan
    from ptycho_torch.reconstruct.run import reconstruct_scan
    from ptycho_torch.runtime.locks import choose_device

    report = reconstruct_scan(
        read_scan(file, reading),
        settings,
        folder=output_dir,
        threads=device.threads,
        device=choose_device(device.accelerator).type,
        overwrite=overwrite,
        on_iteration=progress,
    )
    typer.echo(
        f"{report['frames']} frames, {report['batch_size']} at once, "
        f"{report['iterations']} iterations in {sum(report['seconds']):.3g} s: R factor of the "
        f"finished object {report['r_factor']:.4g}"
    )
    typer.echo(f"{output_dir / 'object.npz'}, reconstruction.png, report.json")
    if report["doubt"] is not None:
        typer.echo(report["doubt"])
