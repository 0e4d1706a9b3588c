"""Commands on files of measurements: train a network, use one, or reconstruct iteratively."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from pydantic import Field

from ptycho_torch.cli.options import (
    Conventions,
    Flags,
    Overwrite,
    PatchStats,
    ScanFile,
    WholeFile,
    checked,
    messages,
    study_with,
    with_flags,
)
from ptycho_torch.config.base import Accelerator, Positive, Settings, merge
from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.scan import (
    FitSettings,
    GroupSettings,
    InferSettings,
    RpieSettings,
    ScanConventions,
)
from ptycho_torch.config.study import BLOCKS, derive
from ptycho_torch.config.training import ExecutionSettings, TrainingSettings
from ptycho_torch.runtime.errors import InputError

app = typer.Typer()

_DEFAULTS = FitSettings(name="defaults")
_Given = dict[str, Any]
_TRAINING = Flags(
    TrainingSettings,
    "Training",
    names={"epochs": "--epochs --max-epochs"},
    defaults=_DEFAULTS.training,
)
_CLIP = {
    "clip": "--clip --gradient-clip-algorithm", "clip_value": "--clip-value --gradient-clip-val",
}  # fmt: skip
_BOUNDS = {"norm": "max_norm", "value": "max_value", "agc": "max_ratio"}
_PRESETS: dict[str | None, dict[str, dict[str, Any]]] = {
    "quick": {
        "generator": {"name": "stable_hybrid", "width": 8, "modes": 8},
        "training": {"epochs": 30, "optimizer": {"learning_rate": 8e-3}},
    }
}
_EXECUTION = Flags(ExecutionSettings, "Device", defaults=_DEFAULTS.execution)
_GENERATOR = Flags(
    GeneratorSettings,
    "Network",
    names={"name": "--generator", "fno_blocks": "--fno-blocks --blocks"},
    without=("source",),
    defaults=_DEFAULTS.generator,
)


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

    def settings(self, given: Mapping[str, Any], over: Mapping[str, Any]) -> FitSettings:
        """Return the settings in force: an arm's, or the defaults, with the options over them.

        given: settings of the data, as in `FitSettings`; over: those of each block of `BLOCKS`.
        Raises `InputError` if an arm is unknown, or a setting impossible; names its key.
        """
        base, arm = _DEFAULTS.model_dump(), _DEFAULTS.arm
        if self.config is not None and self.preset is not None:
            raise InputError("--preset and --config: both say all settings; give one")
        if (self.config is None) != (self.arm is None):
            raise InputError("--config and --arm belong together: a study and one of its arms")
        if self.config is not None:
            arm = str(self.arm)
            base = derive(study_with(arm, self.config)).blocks[arm]
        base |= {
            key: merge(base[key], block) for key, block in _PRESETS.get(self.preset, {}).items()
        }
        blocks = {block: dict(over.get(block, {})) for block in BLOCKS}
        if self.learning_rate is not None:
            blocks["training"]["optimizer"] = {"learning_rate": self.learning_rate}
        if (self.clip in (None, "none")) != (self.clip_value is None):
            raise InputError("--clip and --clip-value belong together: a rule, and its bound")
        if self.clip is not None:
            bound = {} if self.clip == "none" else {_BOUNDS[self.clip]: self.clip_value}
            blocks["execution"]["clip"] = {"gradient_clip_algorithm": self.clip, **bound}
        blocks = {block: merge(base[block], blocks[block]) for block in BLOCKS}
        return checked(FitSettings, {**given, "arm": arm, **blocks})


def dataset_name(file: str) -> str:
    """Return a name for the data in a file, fit to be a folder's."""
    stem = re.sub(r"[^A-Za-z0-9_.\-]", "-", file.split(".")[0]).lstrip("._-")
    return stem[:60] or "data"


@app.command()
@with_flags
def train(
    *,
    file: ScanFile,
    output_dir: Annotated[Path, typer.Option(help="Folder for bundle, run.json, history.csv.")],
    test_data: Annotated[
        Path | None, typer.Option(help="Test data; predicted after training, selects nothing.")
    ] = None,
    overwrite: Overwrite = False,
    stats: Annotated[PatchStats, Flags(PatchStats)],
    options: Annotated[CliOptions, Flags(CliOptions, names=_CLIP)],
    groups: Annotated[_Given, Flags(GroupSettings, "Frames", defaults=_DEFAULTS.groups)],
    data: Annotated[_Given, Flags(FitSettings, "Frames", ("name", "arm"), defaults=_DEFAULTS)],
    training: Annotated[_Given, _TRAINING],
    execution: Annotated[_Given, _EXECUTION],
    generator: Annotated[_Given, _GENERATOR],
    reading: WholeFile,
) -> None:
    """Train a network on a measured scan, without labels; exit status 0 also if it diverges.

    A default holds where neither the option nor --config says otherwise.
    """
    over = {"generator": generator, "training": training, "execution": execution}
    given = {"name": dataset_name(file.name), "groups": groups, **data}
    settings = options.settings(given, over)
    with messages():
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
    from ptycho_torch.physics.predict import illuminated, r_factor
    from ptycho_torch.reconstruct.engine import reconstruct

    scan, execution = read_scan(file, reading), settings.execution
    how = InferSettings(accelerator=execution.accelerator, threads=execution.threads)
    seen = infer_scan(read_bundle(folder / "bundle"), scan, how)
    made = reconstruct(scan, RpieSettings(iterations=iterations))
    known = np.where(illuminated(made.light_YX), made.object_YX, np.nan)
    images = {f"rPIE, {iterations} iterations": known, "network": seen.stitched.known_YX}
    # Each less its mean phase, which no pattern fixes.
    turned = {
        key: image * np.exp(-1j * np.angle(np.nansum(image))) for key, image in images.items()
    }
    save_png(folder / "objects.png", draw_objects(turned))
    found = r_factor(made.predict(scan.positions_n2), scan.amplitude_nHW, scan.good_1HW)
    alone = settings.groups.gridsize == 1
    return (
        f"amplitude R factor of all frames, by the network's object {seen.report['r_factor']:.4f}"
        f"{', in which nothing ties the phases of patches (--gridsize 2)' if alone else ''}; by "
        f"rPIE's {found:.4f} ({iterations} iterations, {sum(made.seconds):.2g} s)"
    )


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
