"""The command line, for people without Snakemake: `ptycho-torch --help`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ptycho_torch import __version__, io
from ptycho_torch.config.base import InputError
from ptycho_torch.config.document import readme_text, schema_text
from ptycho_torch.config.plan import stage_names, stage_plan
from ptycho_torch.config.read import read_study

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

StudyFile = Annotated[Path, typer.Argument(help="Study in YAML; every key: config/README.md.")]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"ptycho-torch {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Which network and training policy reconstructs coherent diffraction data reliably?"""


@app.command()
def check_config(study: StudyFile = Path("config/config.yaml")) -> None:
    """Read a study and say what it would run, or what is wrong with it."""
    settings = read_study(study)
    typer.echo(f"{study}: {settings.title}")
    distinct: set[tuple[str, str, int]] = set()
    # Who wins Stage A is not known yet; an arm that no other stage takes to depth costs most.
    stage = settings.stage_a
    shared = {stage.control, *(settings.pivot.cures if settings.pivot else ())}
    likely = next((arm for arm in stage.arms if arm not in shared), stage.arms[-1])
    for name in stage_names(settings):
        plan = stage_plan(settings, name, likely)
        runs = {(plan.dataset, arm, seed) for arm in plan.arms for seed in plan.seed_list}
        typer.echo(
            f"{plan.title}: {len(plan.arms)} arms x {len(plan.seed_list)} seeds = {len(runs)} runs "
            f"on dataset '{plan.dataset}', {len(runs - distinct)} of them new"
        )
        distinct |= runs
    typer.echo(
        f"at most {len(distinct)} runs in all; fewer if Stage A's winner goes to depth anyway"
    )


@app.command()
def check_data(
    file: Annotated[Path, typer.Argument(help="NPZ file of the layout in docs/files.md.")],
    patch_px: Annotated[int, typer.Option(help="Side of a patch, pixels.")],
    sha256: Annotated[str | None, typer.Option(help="Checksum that the file must have.")] = None,
) -> None:
    """Read a dataset split and say what it holds, or what is wrong with it."""
    import logging

    from ptycho_torch.dataset_file import read_split

    logging.basicConfig(format="%(levelname)s: %(message)s")
    split = read_split(file, patch_px=patch_px, sha256=sha256)
    groups, _, _, channels = split.arrays["diffraction"].shape
    typer.echo(
        f"{file}: {groups} groups of {channels} patches of {patch_px} px, norm_Y_I "
        f"{split.norm_Y_I:.6g}, intensity_scale {split.intensity_scale:.6g}"
    )
    typer.echo(f"sha256 {io.sha256(file)}")


@app.command()
def config_docs(
    folder: Annotated[Path, typer.Option(help="Where README.md and schema.json go.")] = Path(
        "config"
    ),
) -> None:
    """Write config/README.md and config/schema.json from the configuration classes."""
    io.write_text(folder / "README.md", readme_text())
    io.write_text(folder / "schema.json", schema_text())


def main() -> None:
    """Run the command line; a user's mistake is one line and exit status 1."""
    try:
        app()
    except (InputError, OSError) as error:
        typer.echo(f"ptycho-torch: {error}", err=True)
        sys.exit(1)
