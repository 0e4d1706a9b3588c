"""Commands about a study: what it would run, what it costs."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from ptycho_torch.config.plan import StagePlan, likely_winner, stage_names, stage_plan
from ptycho_torch.config.read import read_study
from ptycho_torch.config.study import Study, derive, run_settings
from ptycho_torch.files import io
from ptycho_torch.files.belonging import differences
from ptycho_torch.runtime.markdown import plural

DEFAULT = Path("config/config.yaml")
StudyFile = Annotated[Path, typer.Argument(help="Study in YAML; every key: config/README.md.")]


def check_config(study: StudyFile = DEFAULT) -> None:
    """Read a study and say what it would run, or what is wrong with it."""
    settings = read_study(study)
    typer.echo(f"{study}: {settings.title}")
    distinct: set[tuple[str, str, int]] = set()
    done: dict[tuple[str, str, int], io.Record] = {}
    for name in stage_names(settings):
        plan = stage_plan(settings, name, likely_winner(settings))
        runs = {(plan.dataset, arm, seed) for arm in plan.arms for seed in plan.seed_list}
        done |= {run: found for run in runs - distinct if (found := _finished(settings, *run))}
        typer.echo(
            f"{plan.title}: {len(plan.arms)} arms x {len(plan.seed_list)} seeds = {len(runs)} runs "
            f"on dataset '{plan.dataset}', {len(runs - distinct)} of them new, "
            f"{len(runs & done.keys())} done in results/"
        )
        for doubt in _doubts(settings, plan, [done[run] for run in runs & done.keys()]):
            typer.echo(f"  warning: {doubt}")
        distinct |= runs
    typer.echo(
        f"at most {len(distinct)} runs in all, {len(distinct - done.keys())} of them to run; fewer "
        "if Stage A's winner goes to depth anyway"
    )


def _finished(study: Study, dataset: str, arm: str, seed: int) -> io.Record | None:
    """Return the record of a run that is there, made with the study's settings."""
    path = Path("results/train", dataset, arm, f"seed-{seed}", "run.json")
    if not path.is_file():
        return None
    record, now = io.read_json(path), run_settings(study, dataset, arm, seed)
    return None if [*differences(record["settings"], now.model_dump(mode="json"))] else record


def _doubts(study: Study, plan: StagePlan, done: list[io.Record]) -> Iterator[str]:
    """Yield why a stage will not answer its question, as far as that is known."""
    from ptycho_torch.statistics.compare import claim_level

    seeds, family, level = len(plan.seed_list), len(plan.primary), claim_level(plan)
    if family and level is not None:
        least = (min(1.0, family * 2 / math.comb(2 * n, n)) for n in itertools.count(seeds))
        if (found := next(least)) > level:
            enough = seeds + 1 + next(more for more, p in enumerate(least) if p <= level)
            yield (
                f"{plan.name} cannot decide: the least p that {plural(seeds, 'seed')} can give "
                f"{plural(family, 'comparison')} is {found:.2g}, above the level of "
                f"{level:.2g}; {enough} seeds are enough"
            )
    outcomes = {record["outcome"] for record in done}
    if plan.grid and len(done) == len(plan.arms) * seeds and outcomes == {"completed"}:
        yield f"{plan.name}: no run fails at any of its rates; add higher ones"
    norms = [record["gradient_norm"]["max"] or 0.0 for record in done]
    variants = derive(study).sweeps.get(plan.name, [])
    bounds = [dict(variant.changes).get("execution.clip.max_norm", 0.0) for variant, _ in variants]
    if norms and (idle := [f"{bound:g}" for bound in bounds if bound > max(norms)]):
        yield (
            f"{plan.name}: max_norm {', '.join(idle)} clip nothing; of {len(norms)} runs that are "
            f"done the largest gradient norm is {max(norms):.3g}"
        )


def plan(
    study: StudyFile = DEFAULT,
    runs_at_once: Annotated[
        int | None,
        typer.Option(min=1, help="Trainings side by side; else what the cores hold, or one a GPU."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write the plan as JSON, too.")] = None,
) -> None:
    """Say what a study takes: parameters, memory, time; nothing is trained or written.

    Weights are counted; memory and times are those of a few real steps on made-up data, each
    network's in a process of its own.
    """
    settings = read_study(study)
    from ptycho_torch.runtime.provenance import commit
    from ptycho_torch.train.cost import plan_text, study_cost

    found = {
        "format": "ptycho-torch plan 5",
        "commit": commit(Path(__file__)),
        "config": str(study),
        "title": settings.title,
        **study_cost(settings, runs_at_once=runs_at_once),
    }
    if output is not None:
        io.write_json(output, found)
    typer.echo(plan_text(found))
