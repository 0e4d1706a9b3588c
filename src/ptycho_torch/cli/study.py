"""Commands about the study's configuration."""

from pathlib import Path
from typing import Annotated

import typer

from ptycho_torch.config.document import readme_text, schema_text
from ptycho_torch.config.plan import likely_winner, stage_names, stage_plan
from ptycho_torch.config.read import read_study
from ptycho_torch.files import io

app = typer.Typer()

StudyFile = Annotated[Path, typer.Argument(help="Study in YAML; every key: config/README.md.")]


@app.command()
def check_config(study: StudyFile = Path("config/config.yaml")) -> None:
    """Read a study and say what it would run, or what is wrong with it."""
    settings = read_study(study)
    typer.echo(f"{study}: {settings.title}")
    distinct: set[tuple[str, str, int]] = set()
    for name in stage_names(settings):
        plan = stage_plan(settings, name, likely_winner(settings))
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
def config_docs(
    folder: Annotated[Path, typer.Option(help="Where README.md and schema.json go.")] = Path(
        "config"
    ),
) -> None:
    """Write config/README.md and config/schema.json from the configuration classes."""
    io.write_text(folder / "README.md", readme_text())
    io.write_text(folder / "schema.json", schema_text())
