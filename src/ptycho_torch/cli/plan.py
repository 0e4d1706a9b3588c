"""The command that says what a study will cost before it is run."""

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer

from ptycho_torch.config.read import read_study
from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError

app = typer.Typer()

FORMAT = "ptycho-torch plan 1"
_TRY = "Try instead of the study's settings"


@app.command()
def plan(
    *,
    config: Annotated[Path, typer.Option(help="Study in YAML.")] = Path("config/config.yaml"),
    arm: Annotated[str | None, typer.Option(help="This arm alone; else all.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="This dataset; else those of the stages.")
    ] = None,
    memory_gib: Annotated[
        float | None,
        typer.Option(
            help="Memory that the largest batch and depth are to fit in, GiB; else the GPU's, or "
            "what main memory is free."
        ),
    ] = None,
    runs_at_once: Annotated[
        int, typer.Option(min=1, max=10_000, help="Trainings side by side: `--resources gpu=N`.")
    ] = 1,
    probe_steps: Annotated[
        int, typer.Option(min=1, max=10_000, help="Training steps that are timed, of each network.")
    ] = 10,
    probe: Annotated[bool, typer.Option(help="Time steps on this device.")] = True,
    largest: Annotated[bool, typer.Option(help="Look for the largest batch and depth.")] = True,
    compare: Annotated[
        Path | None,
        typer.Option(help="Folder of results: predict its runs, beside what was measured."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write the plan as JSON, too.")] = None,
    patch_px: Annotated[
        int | None, typer.Option(help="Side of a patch, pixels.", rich_help_panel=_TRY)
    ] = None,
    gridsize: Annotated[
        int | None, typer.Option(help="1, or 2: groups of four.", rich_help_panel=_TRY)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Groups a step.", rich_help_panel=_TRY)
    ] = None,
    width: Annotated[
        int | None, typer.Option(help="Channels at full resolution.", rich_help_panel=_TRY)
    ] = None,
    blocks: Annotated[
        int | None, typer.Option(help="Fourier blocks.", rich_help_panel=_TRY)
    ] = None,
    checkpointing: Annotated[
        bool | None, typer.Option(help="Gradient checkpointing.", rich_help_panel=_TRY)
    ] = None,
) -> None:
    """Say what a study takes: parameters, operations, memory, time; nothing is trained or written.

    Memory and operations are counted without computing; times are those of a few real steps on
    made-up data.
    """
    if memory_gib is not None and not 0 < memory_gib < float("inf"):
        raise InputError(f"--memory-gib: must be > 0, got {memory_gib}")
    if output is not None:
        _must_be_free(output)
    data_changes = _given({"patch_px": patch_px, "scan.gridsize": gridsize})
    run_changes = _given(
        {
            "training.batch_size": batch_size, "generator.width": width,
            "generator.fno_blocks": blocks, "execution.checkpointing": checkpointing,
        }
    )  # fmt: skip
    steps = probe_steps if probe else 0
    if compare is not None:
        if data_changes or run_changes or arm or dataset:
            raise InputError("--compare takes runs as they are: leave out what chooses or changes")
        found, text = _compared(compare, memory_gib, steps)
    else:
        found, text = _planned(
            config, memory_gib, steps, largest,
            arm=arm, dataset=dataset, data_changes=data_changes, run_changes=run_changes,
            runs_at_once=runs_at_once,
        )  # fmt: skip
    if output is not None:
        io.write_json(output, found)
    typer.echo(text)


def _must_be_free(output: Path) -> None:
    """Refuse what is there and is no earlier plan, before anything is worked out."""
    if not output.exists():
        return
    with contextlib.suppress(InputError):
        if io.read_json(output).get("format") == FORMAT:
            return
    raise InputError(f"--output {output}: is there already and is no plan; write another file")


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _planned(
    config: Path, memory_gib: float | None, steps: int, largest: bool, **chosen: Any
) -> tuple[dict[str, Any], str]:
    study = read_study(config)
    from ptycho_torch.cli.terminal import said
    from ptycho_torch.train.cost.report import plan_text
    from ptycho_torch.train.cost.run_cost import Estimator
    from ptycho_torch.train.cost.study import study_cost

    with said():
        execution = study.execution
        estimator = Estimator.on_this_machine(
            execution.accelerator, execution.threads, memory_gib, steps, largest=largest
        )
        found = {"config": str(config), "title": study.title}
        found |= study_cost(study, estimator, **chosen)
    found = _facts() | estimator.facts() | found
    return found, plan_text(found)


def _compared(results: Path, memory_gib: float | None, steps: int) -> tuple[dict[str, Any], str]:
    from ptycho_torch.cli.terminal import said
    from ptycho_torch.train.cost.compare import compare_results
    from ptycho_torch.train.cost.report import comparison_text
    from ptycho_torch.train.cost.run_cost import Estimator

    with said():
        estimator = Estimator.on_this_machine("auto", 2, memory_gib, steps, largest=False)
        found = _facts() | estimator.facts() | compare_results(results, estimator)
    return found, comparison_text(found)


def _facts() -> dict[str, Any]:
    from ptycho_torch.runtime.provenance import commit

    return {"format": FORMAT, "commit": commit(Path(__file__))}
