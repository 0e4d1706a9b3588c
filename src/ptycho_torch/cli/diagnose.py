"""Commands that say why a run goes as it does: gradients and activations of one network."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ptycho_torch.config.arms import derive, run_settings
from ptycho_torch.config.evaluation import DiagnosticsSettings
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError, nearest

if TYPE_CHECKING:
    from ptycho_torch.config.study import Study
    from ptycho_torch.diagnose.subject import Subject

app = typer.Typer(no_args_is_help=True, help="Gradients and activations of one network.")

Output = Annotated[Path, typer.Option(help="Folder that the report goes to.")]
BundleFolder = Annotated[
    Path | None, typer.Option(help="A trained network: folder with bundle.json.")
]
Config = Annotated[
    Path | None, typer.Option(help="An untrained network: study in YAML, with --arm and --seed.")
]
Arm = Annotated[str | None, typer.Option(help="Arm of --config.")]
RootSeed = Annotated[
    int | None, typer.Option(min=0, max=2**32 - 1, help="Seed of the initial weights (default: 0).")
]
Data = Annotated[
    Path | None, typer.Option(help="Dataset split (NPZ, docs/files.md) that the network sees.")
]
Groups = Annotated[
    int | None, typer.Option(min=1, max=256, help="Groups of patches to look at (default: 16).")
]
Loss = Annotated[
    Literal["mae", "poisson"] | None, typer.Option(help="Loss; not given: the one it trains with.")
]


@app.command()
def gradients(
    *,
    output: Output,
    bundle: BundleFolder = None,
    config: Config = None,
    arm: Arm = None,
    data: Data = None,
    seed: RootSeed = None,
    groups: Groups = None,
    loss: Loss = None,
    block: Annotated[
        Literal["hybrid", "stable_hybrid", "layerscale_hybrid"] | None,
        typer.Option(help="One Fourier block of this kind, on white noise (default: hybrid)."),
    ] = None,
    channels: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Channels of --block (default: 32).")
    ] = None,
    modes: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Modes of --block (default: 12).")
    ] = None,
    patch_px: Annotated[
        int | None, typer.Option(min=2, max=4096, help="Side of --block's frames (default: 64).")
    ] = None,
) -> None:
    """Compare the gradients of spectral and of local weights: gradient_report.json.

    Of a trained network (--bundle, --data), an untrained one (--config, --arm, --data), or else of
    one Fourier block by itself, with its initial weights as they are and as they were before.
    """
    of_block = {"block": block, "channels": channels, "modes": modes, "patch_px": patch_px}
    if bundle is None and config is None:
        network = {"arm": arm, "data": data, "groups": groups, "loss": loss}
        _refuse(network, "goes with --bundle or --config, of which neither is given")
        from ptycho_torch.diagnose.initialisation import probe_block
        from ptycho_torch.diagnose.networks import report_head

        settings = DiagnosticsSettings()
        kind = block or "hybrid"
        what = {
            "channels": channels or 32, "modes": modes or 12, "patch_px": patch_px or 64,
            "seed": seed or 0,
        }  # fmt: skip
        probe = probe_block(kind, **what, settings=settings)
        network_facts = {"block": kind, **what}
        report = {**report_head(None, settings), "network": network_facts, **probe}
    else:
        _refuse(of_block, "is of one block by itself; it does not go with --bundle or --config")
        from ptycho_torch.diagnose.networks import gradient_entry, report_head

        subject, settings = _subject(bundle, config, arm, seed, data=data, groups=groups, loss=loss)
        report = {**report_head(subject.sample, settings), **gradient_entry(subject, settings)}
    path = output / "gradient_report.json"
    io.write_json(path, report)
    ratio = report["spectral_local_ratio"]
    typer.echo(
        f"{path}: spectral / local gradient {_number(ratio)}"
        + (f", flagged: below {settings.min_gradient_ratio:g}" if report["flagged"] else "")
        + (f" ({report['undefined']})" if report["undefined"] else "")
    )


@app.command()
def activations(
    *,
    output: Output,
    bundle: BundleFolder = None,
    config: Config = None,
    arm: Arm = None,
    data: Data = None,
    seed: RootSeed = None,
    groups: Groups = None,
) -> None:
    """Say how large activations are, layer by layer, and what is in them: activation_report.json.

    Of a trained network (--bundle, --data) or an untrained one (--config, --arm, --data).
    """
    if bundle is None and config is None:
        raise InputError("--bundle DIR, or --config STUDY and --arm NAME, says which network")
    from ptycho_torch.diagnose.networks import activation_entry, input_statistics, report_head

    subject, settings = _subject(bundle, config, arm, seed, data=data, groups=groups, loss="mae")
    report = {
        **report_head(subject.sample, settings),
        "inputs": input_statistics(subject.sample, subject.input_scale),
        **activation_entry(subject, settings),
    }
    path = output / "activation_report.json"
    io.write_json(path, report)
    typer.echo(
        f"{path}: mean modulus grows {_number(report['growth_per_block'])} times a block; spectral "
        f"/ local output {_number(report['spectral_local_output_ratio'])}; flagged: "
        f"{', '.join(report['flagged_layers'] + report['flagged_blocks']) or 'nothing'}"
    )


def _subject(
    bundle: Path | None,
    config: Path | None,
    arm: str | None,
    seed: int | None,
    *,
    data: Path | None,
    groups: int | None,
    loss: Literal["mae", "poisson"] | None,
) -> "tuple[Subject, DiagnosticsSettings]":
    """Return the network that the options name, before its data, and the thresholds in force."""
    import logging

    from ptycho_torch.diagnose.subject import (
        bundle_subject,
        read_sample,
        trained_loss,
        untrained_subject,
    )
    from ptycho_torch.networks.bundle import read_bundle

    logging.basicConfig(format="%(levelname)s: %(message)s")
    if data is None:
        raise InputError("--data FILE says which groups the network sees: a dataset split, NPZ")
    if bundle is not None:
        untrained_only = {"config": config, "arm": arm, "seed": seed}
        _refuse(untrained_only, "is of an untrained network; leave it or --bundle out")
        settings = _with_groups(DiagnosticsSettings(), groups)
        read = read_bundle(bundle)
        in_force = loss or trained_loss(read, bundle)
        sample = read_sample(
            data, patch_px=read.settings.patch_px, groups=settings.groups, seed=settings.groups_seed
        )
        label = {"name": str(bundle.name), "state": "bundle", "dataset": read.settings.dataset}
        return bundle_subject(read, sample, in_force, where=bundle, **label), settings
    from ptycho_torch.config.plan import UntrainedNetwork
    from ptycho_torch.config.read import read_study

    assert config is not None
    study = read_study(config)
    run = run_settings(study, study.stage_a.dataset, _known_arm(study, config, arm), seed or 0)
    settings = _with_groups(study.diagnostics, groups)
    network = UntrainedNetwork(
        generator=run.generator,
        loss=loss or run.training.loss,
        input_scaling=run.training.input_scaling,
        object_big=run.training.object_big,
    )
    sample = read_sample(
        data, patch_px=run.patch_px, groups=settings.groups, seed=settings.groups_seed
    )
    return untrained_subject(network, run.seed, sample, name=run.arm), settings


def _known_arm(study: "Study", config: Path, arm: str | None) -> str:
    names = [*study.arms, *derive(study).variants]
    if arm is None:
        raise InputError(f"--arm NAME says which arm of {config}; it has: {', '.join(names)}")
    if arm not in names:
        raise InputError(f"{config}: there is no arm '{arm}'{nearest(arm, names)}")
    return arm


def _with_groups(settings: DiagnosticsSettings, groups: int | None) -> DiagnosticsSettings:
    return settings if groups is None else settings.model_copy(update={"groups": groups})


def _refuse(options: dict[str, Any], reason: str) -> None:
    """Refuse options that are given and would be ignored."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(f"{flags} {reason}")


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3g}"
