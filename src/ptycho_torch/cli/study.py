"""Commands about a study: what it would run, what it costs, its documentation."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ptycho_torch.cli.options import Flags, messages, with_flags
from ptycho_torch.config.base import Count, Depth, Gridsize, Positive, Settings
from ptycho_torch.config.document import readme_text, schema_text
from ptycho_torch.config.plan import likely_winner, stage_names, stage_plan
from ptycho_torch.config.read import read_study
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError

app = typer.Typer()

FORMAT = "ptycho-torch plan 2"


@app.command()
def check_config(
    study: Annotated[
        Path, typer.Argument(help="Study in YAML; every key: config/README.md.")
    ] = Path("config/config.yaml"),
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
def config_docs(
    folder: Annotated[Path, typer.Option(help="Where README.md and schema.json go.")] = Path(
        "config"
    ),
) -> None:
    """Write config/README.md and config/schema.json from the configuration classes."""
    io.write_text(folder / "README.md", readme_text())
    io.write_text(folder / "schema.json", schema_text())


class PlanOptions(Settings):
    """Which runs are estimated, and how."""

    arm: str | None = None
    """This arm alone; else all."""
    dataset: str | None = None
    """This dataset; else those of the stages."""
    memory_gib: Positive | None = None
    """Memory that the largest batch and depth are to fit in, GiB; else the GPU's, or what main
    memory is free."""
    runs_at_once: Count = 1
    """Trainings side by side: `--resources gpu=N`."""
    probe_steps: Count = 10
    """Training steps that are timed, of each network."""
    probe: bool = True
    """Train a few steps on this device; else memory is what can be counted, at least."""
    largest: bool = True
    """Look for the largest batch and depth."""


class Changes(Settings):
    """What is tried instead of the settings: the datasets', then the runs'."""

    patch_px: Count | None = None
    """Side of a patch, pixels."""
    gridsize: Gridsize | None = None
    """1, or 2: groups of four."""
    batch_size: Count | None = None
    """Groups a step."""
    width: Count | None = None
    """Channels at full resolution."""
    fno_blocks: Depth | None = None
    """Fourier blocks."""
    checkpointing: bool | None = None
    """Gradient checkpointing."""


# Flag -> its place in the settings of a dataset, or of a run.
_OF_DATA = {"patch_px": "patch_px", "gridsize": "scan.gridsize"}
_OF_RUN = {
    "batch_size": "training.batch_size",
    "width": "generator.width",
    "fno_blocks": "generator.fno_blocks",
    "checkpointing": "execution.checkpointing",
}


@app.command()
@with_flags
def plan(
    *,
    config: Annotated[Path, typer.Option(help="Study in YAML.")] = Path("config/config.yaml"),
    compare: Annotated[
        Path | None,
        typer.Option(help="Folder of results: predict its runs, beside what was measured."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write the plan as JSON, too.")] = None,
    options: Annotated[PlanOptions, Flags(PlanOptions)],
    changes: Annotated[
        dict[str, Any],
        Flags(
            Changes,
            "Try instead of the study's settings",
            names={"fno_blocks": "--fno-blocks --blocks"},
            defaults=Changes(),
        ),
    ],
) -> None:
    """Say what a study takes: parameters, operations, memory, time; nothing is trained or written.

    Weights and operations are counted; memory and times are those of a few real steps on made-up
    data, each network's in a process of its own.
    """
    if output is not None and output.exists() and not _is_a_plan(output):
        raise InputError(f"--output {output}: is there already and is no plan; write another file")
    if compare is not None and (changes or options.arm or options.dataset):
        raise InputError("--compare takes runs as they are: leave out what chooses or changes")
    study = None if compare else read_study(config)
    with messages():
        from ptycho_torch.runtime.provenance import commit
        from ptycho_torch.train.cost.report import comparison_text, plan_text
        from ptycho_torch.train.cost.study import Estimator, compare_results, study_cost

        steps = options.probe_steps if options.probe else 0
        device = (study.execution.accelerator, study.execution.threads) if study else ("auto", 2)
        largest = options.largest and study is not None
        estimator = Estimator(*device, options.memory_gib, steps, largest=largest)
        found = {"format": FORMAT, "commit": commit(Path(__file__)), **estimator.facts}
        if compare is not None:
            found |= compare_results(compare, estimator)
        elif study is not None:
            found |= {"config": str(config), "title": study.title}
            found |= study_cost(
                study,
                estimator,
                arm=options.arm,
                dataset=options.dataset,
                runs_at_once=options.runs_at_once,
                changes=(_at(_OF_DATA, changes), _at(_OF_RUN, changes)),
            )
    if output is not None:
        io.write_json(output, found)
    typer.echo(plan_text(found) if study else comparison_text(found))


def _at(places: dict[str, str], changes: dict[str, Any]) -> dict[str, Any]:
    return {places[key]: value for key, value in changes.items() if key in places}


def _is_a_plan(path: Path) -> bool:
    try:
        return io.read_json(path).get("format") == FORMAT
    except InputError:
        return False
