"""Commands that say why a run goes as it does: gradients and activations of one network."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from pydantic import Field

from ptycho_torch.cli.options import Flags
from ptycho_torch.config.base import Accelerator, Count, Seed, Settings
from ptycho_torch.config.evaluation import DiagnosticsSettings
from ptycho_torch.config.generator import NAMES
from ptycho_torch.config.plan import UntrainedNetwork
from ptycho_torch.config.scan import FitSettings
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.markdown import number

if TYPE_CHECKING:
    from ptycho_torch.diagnose.subject import Subject

Output = Annotated[
    Path, typer.Option("--output-dir", "--output", help="Folder that the report goes to.")
]
Data = Annotated[
    Path | None,
    typer.Argument(
        help="What the network sees: a split, a scan (docs/own-data.md), or NPZ with `diffraction`."
    ),
]


class NetworkOptions(Settings):
    """Which network, and what it sees."""

    bundle: Path | None = None
    """A trained network: folder with bundle.json."""
    architecture: Literal[NAMES] | None = None  # type: ignore[valid-type]
    """A network before its training, of this kind and of the size that `train` has by itself."""
    accelerator: Accelerator = "cpu"
    """Where the network runs."""
    seed: Seed = 0
    """Seed of untrained weights."""
    groups: Annotated[int, Field(ge=1, le=256)] = 16
    """Groups of patches to look at."""
    loss: Literal["mae", "poisson"] | None = None
    """Loss; not given: the one it trains with."""


class BlockOptions(Settings):
    """One Fourier block by itself, on white noise."""

    block: Literal["hybrid", "stable_hybrid", "layerscale_hybrid"] = "hybrid"
    """One Fourier block of this kind, on white noise."""
    channels: Count = 32
    """Channels of --block."""
    modes: Count = 12
    """Modes of --block."""
    patch_px: Count = 64
    """Side of --block's frames."""


_THRESHOLDS = DiagnosticsSettings()


def _subject(file: Path | None, options: NetworkOptions) -> "Subject":
    """Return the network that was named, with its data."""
    from ptycho_torch.diagnose import subject
    from ptycho_torch.networks.bundle import read_bundle

    if file is None or (options.bundle is None) == (options.architecture is None):
        raise InputError(
            "give FILE, whose groups the network sees, and one network: --bundle DIR or "
            "--architecture NAME"
        )
    if options.bundle is not None:
        bundle = read_bundle(options.bundle)
        sizes = bundle.settings.model_dump(include={"patch_px", "channels"})
        sample = subject.read_sample(file, groups=options.groups, **sizes)
        label = {"name": options.bundle.name, "state": "bundle", "dataset": bundle.settings.dataset}
        return subject.bundle_subject(bundle, sample, options.loss, where=options.bundle, **label)
    sample = subject.read_sample(file, groups=options.groups, patch_px=None)
    generator, training = FitSettings().generator, FitSettings().training
    # No more modes than the patches have.
    most = min(generator.modes, sample.batch.amplitude_BCHW.shape[-1] // 2 + 1)
    network = UntrainedNetwork(
        generator=generator.model_copy(update={"name": options.architecture, "modes": most}),
        loss=options.loss or training.loss,
        **training.model_dump(include={"input_scaling", "object_big"}),
    )
    return subject.untrained_subject(network, options.seed, sample, name=str(options.architecture))


def gradients(
    *,
    file: Data = None,
    output_dir: Output = Path(),
    network: Annotated[NetworkOptions, Flags(NetworkOptions, without=("accelerator",))],
    block: Annotated[BlockOptions, Flags(BlockOptions)],
) -> None:
    """Compare the gradients of spectral and of local weights: gradient_report.json.

    Of a trained network (--bundle) or an untrained one (--architecture) on FILE, or else of one
    Fourier block by itself, with its initial weights as they are and as they were before.
    """
    from ptycho_torch.diagnose.networks import gradient_entry, probe_block, report_head

    if file is not None or network != NetworkOptions(seed=network.seed):
        if block != BlockOptions():
            raise InputError(
                "--block, --channels, --modes and --patch-px are of one block by itself; they go "
                "with no FILE, --bundle or --architecture"
            )
        subject = _subject(file, network)
        found = gradient_entry(subject, _THRESHOLDS)
        report = {**report_head(subject.sample, _THRESHOLDS), **found}
    else:
        sizes = block.model_dump(exclude={"block"}) | {"seed": network.seed}
        found = probe_block(block.block, **sizes, settings=_THRESHOLDS)
        label = {"network": {"block": block.block, **sizes}}
        report = {**report_head(None, _THRESHOLDS), **label, **found}
    path = output_dir / "gradient_report.json"
    io.write_json(path, report)
    typer.echo(
        f"{path}: spectral / local gradient {number(report['spectral_local_ratio'])}"
        + (f", flagged: below {_THRESHOLDS.min_gradient_ratio:g}" if report["flagged"] else "")
        + (f" ({report['undefined']})" if report["undefined"] else "")
    )


def activations(
    *,
    file: Data = None,
    output_dir: Output = Path(),
    network: Annotated[NetworkOptions, Flags(NetworkOptions, without=("loss",))],
) -> None:
    """Say how large activations are, layer by layer, and what is in them: activation_report.json.

    Of a trained network (--bundle) or an untrained one (--architecture).
    """
    from ptycho_torch.diagnose.networks import activation_entry, report_head
    from ptycho_torch.runtime.locks import choose_device

    subject = _subject(file, network.model_copy(update={"loss": "mae"}))
    found = activation_entry(subject, _THRESHOLDS, choose_device(network.accelerator))
    report = {**report_head(subject.sample, _THRESHOLDS), **found}
    path = output_dir / "activation_report.json"
    io.write_json(path, report)
    typer.echo(
        f"{path}: mean modulus grows {number(report['growth_per_block'])} times a block; spectral "
        f"/ local output {number(report['spectral_local_output_ratio'])}; flagged: "
        f"{', '.join(report['summary']['flagged']) or 'nothing'}"
    )
