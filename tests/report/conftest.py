"""A study that was never run: the files of its runs and its dataset, with planted answers."""

import pytest
from tests.report.planted_runs import Plan, write_study

from ptycho_torch.config.plan import stage_plan
from ptycho_torch.config.read import parse_study
from ptycho_torch.files import io
from ptycho_torch.report.collect import collect
from ptycho_torch.report.summarise.stage import work_out


def work_out_of(given):
    """Return what a planted stage shows, without writing anything."""
    study = parse_study(given["study"], "planted")
    winner = io.read_json(given["winner"])["winner"] if "winner" in given else None
    stage = stage_plan(study, given["stage"], winner)
    more = {"dataset": given["dataset"], "conventional": given.get("conventional", ())}
    return work_out(collect(given["files"], study, stage, **more), given["provenance"])


@pytest.fixture(scope="session")
def plant(tmp_path_factory):
    """Return a function that writes a planned study and returns keywords of `summarise_stage`."""
    return lambda **plan: write_study(tmp_path_factory.mktemp("study"), Plan(**plan))


@pytest.fixture(scope="session")
def values_of(plant):
    """Return a function that works out what a planted stage shows; a plan is planted once."""
    found = {}

    def work(**plan):
        if repr(plan) not in found:
            found[repr(plan)] = work_out_of(plant(**plan))
        return found[repr(plan)]

    return work
