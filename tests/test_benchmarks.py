"""Benchmarks are not run here, but what they measure must exist, and no quoted number is typed."""

import json

import pytest

from ptycho_torch.config.read import parse_study

MACHINE = {
    "commit": "0123456789abcdef with uncommitted changes",
    "date": "2026-01-02",
    "processor": "a processor",
    "cores": 2,
    "gpu": None,
    "python": "3.11",
    "versions": {"torch": "2.0", "snakemake": "not installed"},
    "load_average": 0.5,
    "torch_threads": 2,
}
DAG = {"machine": MACHINE, "seconds": {"10": [2.0, 1.0, 9.0], "110": [3.0]}, "peak_memory_mib": 500}


@pytest.mark.parametrize("runs", [10, 1000])
def test_the_studies_that_are_planned_are_studies(bench, runs):
    dag = bench("dag")
    arms, seeds = dag.SIZES[runs]
    study = parse_study(dag.study(arms, seeds), "benchmark")
    assert len(study.stage_a.arms) * len(study.stage_a.seed_list) == runs


def test_the_planted_cases_are_decided(bench):
    rates = bench("decision_rates")
    truth, right, _ = rates.CASES["Pivot planted"]
    assert sum(rates.counts(truth, 4, 1).values()) == 1
    assert right in rates.OUTCOMES


def test_the_programs_of_the_rpie_benchmark_are_there(bench, monkeypatch):
    """Ours runs; pty-chi's has an environment of its own and is not asked for here."""
    rpie = bench("rpie")
    for name, value in (("SIDE", 16), ("STEP", 2), ("PLACES", 6)):
        monkeypatch.setattr(rpie, name, value)
    data = rpie.make_data()
    for engine, batch in rpie.PROGRAMS.values():
        if engine == "rpie":
            assert rpie.complex_error(rpie.run(engine, batch, 5, data), data[3]) < 0.2
    assert {engine for engine, _ in rpie.PROGRAMS.values()} == {
        "rpie",
        "ptychi-rpie",
        "ptychi-lsqml",
    }


def test_programs_take_turns_and_every_second_round_runs_backwards(bench):
    calls = []
    programs = {name: lambda name=name: calls.append(name) for name in "ab"}
    taken = bench("side_by_side").take_turns(programs, rounds=3, warmups=1)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert {name: len(seconds) for name, seconds in taken.items()} == {"a": 3, "b": 3}


def test_a_ratio_is_taken_round_by_round(bench):
    """The ratio of the medians would be 2; other work hit the second round of both."""
    shared = bench("side_by_side")
    taken = {"slow": [3.0, 30.0, 4.0], "fast": [1.0, 10.0, 2.0]}
    assert shared.ratio(taken, "slow", "fast") == {"median": 3.0, "min": 2.0, "max": 3.0}
    assert shared.times(shared.ratio(taken, "slow", "fast")) == "3.00 (2.00 to 3.00)"
    assert shared.seconds(shared.summary(taken)["slow"]) == "4.00 s (3.00 to 30.0)"
    assert (
        shared.seconds({"median_s": 0.5, "min_s": 0.04, "max_s": 2.0}) == "500 ms (40.0 to 2,000)"
    )


def test_a_benchmark_writes_the_machine_as_it_was_before_and_prints_its_tables(
    bench, monkeypatch, tmp_path, capsys
):
    shared = bench("side_by_side")
    monkeypatch.setattr(shared, "FOLDER", tmp_path)
    loads = iter([1.0])
    monkeypatch.setattr(shared.os, "getloadavg", lambda: (next(loads), 0, 0))
    shared.command("trial", lambda size: {"found": size}, lambda r: f"found {r['found']}", size=3)
    written = json.loads((tmp_path / "trial.json").read_text())
    assert written["found"] == 3 and written["machine"]["load_average"] == 1.0
    assert set(MACHINE) <= set(written["machine"])
    assert capsys.readouterr().out == "found 3\n"


def test_the_names_that_are_run_are_benchmarks(bench, root):
    run = bench("run")
    for name in run.NAMES:
        if (root / "benchmarks" / f"{name}.py").exists():
            module = bench(name)
            assert callable(module.measure) and callable(module.tables), name
    assert run.find(["dag", "stage_a"]) == ["dag", "stage_a"]
    assert set(run.NAMES) - set(run.find([])) == set(run.BY_NAME)
    with pytest.raises(SystemExit, match="no benchmark 'dig'; there are: training_step"):
        run.find(["dag", "dig"])


def test_the_rows_of_a_table_are_medians(bench):
    assert bench("dag").tables(DAG).splitlines()[2:] == [
        "| 10 | 22 | 90 | 2.00 |  |",
        "| 110 | 222 | 990 | 3.00 | 10.0 |",
        "",
        "Peak memory of the largest: 500 MiB.",
    ]


PAGE = "a\n<!-- goals: begin -->\nold\n<!-- goals: end -->\nb\n<!-- dag: begin -->\n<!-- dag: end -->\nc\n"


def test_the_page_is_written_between_its_marks(bench, monkeypatch):
    report, shared = bench("report"), bench("side_by_side")
    goal = shared.Goal("planning", "1 s", "2 s", met=False)
    monkeypatch.setattr(bench("dag"), "goals", lambda _: [goal], raising=False)
    page = report.written(PAGE, {"dag": DAG})
    assert "| planning | 1 s | 2 s | no |" in page and "old" not in page
    assert "| 110 | 222 | 990 | 3.00 | 10.0 |" in page
    assert (
        "*a processor, 2 cores, no GPU; torch on 2 threads; load 0.50 at the start; 2026-01-02, "
        "commit 0123456789 with changes; Python 3.11, torch 2.0.*\n<!-- dag: end -->\nc\n"
    ) in page
    assert report.written(page, {"dag": DAG}) == page


def test_a_result_without_a_place_is_refused_and_a_place_without_a_result_stands_empty(bench):
    report = bench("report")
    with pytest.raises(ValueError, match="no pair of marks for rpie"):
        report.written(PAGE, {"dag": DAG, "rpie": DAG})
    with pytest.raises(ValueError, match="no pair of marks for goals"):
        report.written("", {})
    page = report.written(report.written(PAGE, {"dag": DAG}), {})
    assert page.endswith("b\n<!-- dag: begin -->\n<!-- dag: end -->\nc\n")


def test_only_what_has_a_place_is_taken(bench, monkeypatch, tmp_path, capsys):
    report = bench("report")
    fresh, quoted, page = tmp_path / "bench", tmp_path / "quoted", tmp_path / "page.md"
    fresh.mkdir()
    page.write_text(PAGE + "<!-- growth: begin -->\n<!-- growth: end -->\n")
    for name in ("dag", "rpie"):
        (fresh / f"{name}.json").write_text(json.dumps(DAG))
    for name, value in (("FOLDER", fresh), ("QUOTED", quoted), ("PAGE", page), ("ROOT", tmp_path)):
        monkeypatch.setattr(report, name, value)
    monkeypatch.setattr("sys.argv", ["report.py", "--take"])
    report.main()
    assert [path.name for path in quoted.iterdir()] == ["dag.json"]
    assert "| 110 | 222 |" in page.read_text()
    assert capsys.readouterr().out == "wrote page.md; not measured: growth\n"


def test_the_page_says_what_its_files_say(bench):
    report = bench("report")
    page = report.PAGE.read_text(encoding="utf-8")
    assert report.written(page, report.read(report.QUOTED)) == page, "run make bench-report"
