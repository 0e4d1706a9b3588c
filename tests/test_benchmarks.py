"""Benchmarks are not run here, but what they measure must exist."""

import importlib.util
import sys

import pytest

from ptycho_torch.config.read import parse_study


def load(root, name):
    spec = importlib.util.spec_from_file_location(name, root / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("runs", [10, 1000])
def test_the_studies_that_are_planned_are_studies(root, runs):
    dag = load(root, "dag")
    arms, seeds = dag.SIZES[runs]
    study = parse_study(dag.study(arms, seeds), "benchmark")
    assert len(study.stage_a.arms) * len(study.stage_a.seed_list) == runs


def test_the_planted_cases_are_decided(root):
    rates = load(root, "decision_rates")
    truth, right, _ = rates.CASES["Pivot planted"]
    assert sum(rates.counts(truth, 4, 1).values()) == 1
    assert right in rates.OUTCOMES


def test_the_programs_of_the_rpie_benchmark_are_there(root):
    """Ours runs; pty-chi's has an environment of its own and is not asked for here."""
    rpie = load(root, "rpie")
    rpie.SIDE, rpie.STEP, rpie.PLACES = 16, 2, 6
    data = rpie.make_data()
    for engine, batch in rpie.PROGRAMS.values():
        if engine == "rpie":
            assert rpie.complex_error(rpie.run(engine, batch, 5, data), data[3]) < 0.2
    assert {engine for engine, _ in rpie.PROGRAMS.values()} == {
        "rpie",
        "ptychi-rpie",
        "ptychi-lsqml",
    }
