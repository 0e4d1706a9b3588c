"""A planned look: which comparisons of a stage go on to more seeds."""

from collections.abc import Mapping
from typing import Any

from ptycho_torch.config.plan import stage_plan
from ptycho_torch.config.read import parse_study
from ptycho_torch.files import io
from ptycho_torch.files.io import PathLike
from ptycho_torch.report.collect import Files, collect
from ptycho_torch.report.rendering import say
from ptycho_torch.report.summarise.stage import claims_of


def write_look(
    files: Files, *, dataset: PathLike, study: Mapping[str, Any], stage: str, output: PathLike
) -> None:
    """Write which arms are undecided at the seeds that there are (`undecided`), and every claim.

    Raises InputError as the stage's summary does.
    """
    parsed = parse_study(study, "study")
    plan = stage_plan(parsed, stage)
    collected = collect(files, parsed, plan, dataset=dataset)
    claims = claims_of(collected)
    io.write_json(
        output,
        {
            "seeds": int(collected.runs.groupby("arm").size().max()),
            "undecided": [item.arm for item in claims if item.better is None],
            "claims": [say("answered", item, parsed.statistics) for item in claims],
        },
    )
