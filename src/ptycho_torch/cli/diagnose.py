"""Commands that say why a run goes as it does: gradients and activations of one network."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from pydantic import Field

from ptycho_torch.cli.options import Flags, messages, study_with, with_flags
from ptycho_torch.config.base import Accelerator, Seed, Settings
from ptycho_torch.config.evaluation import DiagnosticsSettings
from ptycho_torch.config.generator import NAMES
from ptycho_torch.config.plan import UntrainedNetwork
from ptycho_torch.config.scan import FitSettings
from ptycho_torch.config.study import run_settings
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.markdown import number

if TYPE_CHECKING:
    from ptycho_torch.diagnose.subject import Subject

app = typer.Typer(no_args_is_help=True, help="Gradients and activations of one network.")

Output = Annotated[
    Path, typer.Option("--output-dir", "--output", help="Folder that the report goes to.")
]
Data = Annotated[
    Path | None,
    typer.Argument(
        help="What the network sees: a split, a scan (docs/own-data.md), or NPZ with `diffraction`."
    ),
]
Side = Annotated[int, Field(ge=1, le=4096)]


class NetworkOptions(Settings):
    """Which network, and what it sees."""

    bundle: Path | None = None
    """A trained network: folder with bundle.json."""
    config: Path | None = None
    """A network before its training: study in YAML, with --arm and --seed."""
    arm: str | None = None
    """Arm of --config."""
    architecture: Literal[NAMES] | None = None  # type: ignore[valid-type]
    """A network before its training, of this kind and of the size that `train` has by itself."""
    accelerator: Accelerator = "cpu"
    """Where the network runs."""
    seed: Seed = 0
    """Seed of untrained weights."""
    groups: Annotated[int, Field(ge=1, le=256)] | None = None
    """Groups of patches to look at (default: 16)."""
    loss: Literal["mae", "poisson"] | None = None
    """Loss; not given: the one it trains with."""

    @property
    def given(self) -> bool:
        """Whether a network was named."""
        return not (self.bundle is self.config is self.architecture is None)


class BlockOptions(Settings):
    """One Fourier block by itself, on white noise."""

    block: Literal["hybrid", "stable_hybrid", "layerscale_hybrid"] = "hybrid"
    """One Fourier block of this kind, on white noise."""
    channels: Side = 32
    """Channels of --block."""
    modes: Side = 12
    """Modes of --block."""
    patch_px: Annotated[int, Field(ge=2, le=4096)] = 64
    """Side of --block's frames."""


_NAMES = {"groups": "--groups --max-samples", "accelerator": "--accelerator --device"}


def _subject(file: Path | None, options: NetworkOptions) -> "tuple[Subject, DiagnosticsSettings]":
    """Return the network that was named, with its data, and the thresholds in force."""
    from ptycho_torch.diagnose import subject
    from ptycho_torch.networks.bundle import read_bundle

    if [options.bundle, options.config, options.architecture].count(None) != 2:
        raise InputError(
            "--bundle DIR, --architecture NAME, or --config STUDY and --arm NAME says which "
            "network; give one"
        )
    if file is None:
        raise InputError("give FILE, whose groups the network sees: a split, a scan, or NPZ")
    settings, run, bundle = DiagnosticsSettings(), None, None
    patch_px, channels = None, 1
    if options.config is not None:
        study = study_with(options.arm, options.config)
        run = run_settings(study, study.stage_a.dataset, str(options.arm), options.seed)
        patch_px, settings = run.patch_px, study.diagnostics
    if options.bundle is not None:
        bundle = read_bundle(options.bundle)
        patch_px, channels = bundle.settings.patch_px, bundle.settings.channels
    if options.groups is not None:
        settings = settings.model_copy(update={"groups": options.groups})
    sample = subject.read_sample(
        file, patch_px=patch_px, groups=settings.groups, channels=channels,
        seed=settings.groups_seed,
    )  # fmt: skip
    if bundle is not None and options.bundle is not None:
        label = {"name": options.bundle.name, "state": "bundle", "dataset": bundle.settings.dataset}
        found = subject.bundle_subject(bundle, sample, options.loss, where=options.bundle, **label)
        return found, settings
    source = run or FitSettings()
    generator, training = source.generator, source.training
    if run is None:
        # No more modes than the patches have.
        most = min(generator.modes, sample.batch.amplitude_BCHW.shape[-1] // 2 + 1)
        generator = generator.model_copy(update={"name": options.architecture, "modes": most})
    network = UntrainedNetwork(
        generator=generator,
        loss=options.loss or training.loss,
        **training.model_dump(include={"input_scaling", "object_big"}),
    )
    name = str(options.arm or options.architecture)
    return subject.untrained_subject(network, options.seed, sample, name=name), settings


@app.command()
@with_flags
def gradients(
    *,
    file: Data = None,
    output_dir: Output = Path(),
    network: Annotated[
        NetworkOptions, Flags(NetworkOptions, without=("accelerator",), names=_NAMES)
    ],
    block: Annotated[BlockOptions, Flags(BlockOptions)],
) -> None:
    """Compare the gradients of spectral and of local weights: gradient_report.json.

    Of a trained network (--bundle) or an untrained one (--architecture, or --config and --arm) on
    FILE, or else of one Fourier block by itself, with its initial weights as they are and as they
    were before.
    """
    from ptycho_torch.diagnose.networks import gradient_entry, probe_block, report_head

    if network.given:
        if block != BlockOptions():
            raise InputError(
                "--block, --channels, --modes and --patch-px are of one block by itself; they go "
                "with no --bundle, --config or --architecture"
            )
        with messages():
            subject, settings = _subject(file, network)
            report = {**report_head(subject.sample, settings), **gradient_entry(subject, settings)}
    else:
        if file is not None or network != NetworkOptions(seed=network.seed):
            raise InputError(
                "FILE, --arm, --groups and --loss go with --bundle, --config or --architecture, "
                "of which none is given"
            )
        settings, sizes = DiagnosticsSettings(), block.model_dump() | {"seed": network.seed}
        kind = sizes.pop("block")
        found = probe_block(kind, **sizes, settings=settings)
        report = {**report_head(None, settings), "network": {"block": kind, **sizes}, **found}
    path = output_dir / "gradient_report.json"
    io.write_json(path, report)
    least = report["thresholds"]["min_gradient_ratio"]
    typer.echo(
        f"{path}: spectral / local gradient {number(report['spectral_local_ratio'])}"
        + (f", flagged: below {least:g}" if report["flagged"] else "")
        + (f" ({report['undefined']})" if report["undefined"] else "")
    )


@app.command()
@with_flags
def activations(
    *,
    file: Data = None,
    output_dir: Output = Path(),
    network: Annotated[NetworkOptions, Flags(NetworkOptions, without=("loss",), names=_NAMES)],
) -> None:
    """Say how large activations are, layer by layer, and what is in them: activation_report.json.

    Of a trained network (--bundle) or an untrained one (--architecture, or --config and --arm).
    """
    from ptycho_torch.diagnose.networks import activation_entry, report_head
    from ptycho_torch.runtime.locks import choose_device

    with messages():
        subject, settings = _subject(file, network.model_copy(update={"loss": "mae"}))
        report = {
            **report_head(subject.sample, settings),
            **activation_entry(subject, settings, choose_device(network.accelerator)),
        }
    path = output_dir / "activation_report.json"
    io.write_json(path, report)
    typer.echo(
        f"{path}: mean modulus grows {number(report['growth_per_block'])} times a block; spectral "
        f"/ local output {number(report['spectral_local_output_ratio'])}; flagged: "
        f"{', '.join(report['flagged_layers'] + report['flagged_blocks']) or 'nothing'}"
    )
