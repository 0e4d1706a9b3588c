"""Commands about a study: what it would run, what it costs."""

from pathlib import Path
from typing import Annotated

import typer

from ptycho_torch.cli.options import messages
from ptycho_torch.config.plan import likely_winner, stage_names, stage_plan
from ptycho_torch.config.read import read_study
from ptycho_torch.files import io

app = typer.Typer()
DEFAULT = Path("config/config.yaml")
StudyFile = Annotated[Path, typer.Argument(help="Study in YAML; every key: config/README.md.")]


@app.command()
def check_config(
    study: StudyFile = DEFAULT,
) -> None:
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
def plan(
    study: StudyFile = DEFAULT,
    arm: Annotated[str | None, typer.Option(help="This arm alone; else all.")] = None,
    runs_at_once: Annotated[
        int | None,
        typer.Option(min=1, help="Trainings side by side; else what the cores hold, or one a GPU."),
    ] = None,
    probe_steps: Annotated[
        int,
        typer.Option(min=0, help="Training steps timed, of each network; 0: all is counted only."),
    ] = 10,
    output: Annotated[Path | None, typer.Option(help="Write the plan as JSON, too.")] = None,
) -> None:
    """Say what a study takes: parameters, memory, time; nothing is trained or written.

    Weights are counted; memory and times are those of a few real steps on made-up data, each
    network's in a process of its own.
    """
    settings = read_study(study)
    with messages():
        from ptycho_torch.runtime.provenance import commit
        from ptycho_torch.train.cost.study import plan_text, study_cost

        found = {
            "format": "ptycho-torch plan 4",
            "commit": commit(Path(__file__)),
            "config": str(study),
            "title": settings.title,
            **study_cost(settings, arm=arm, runs_at_once=runs_at_once, probe_steps=probe_steps),
        }
    if output is not None:
        io.write_json(output, found)
    typer.echo(plan_text(found))
