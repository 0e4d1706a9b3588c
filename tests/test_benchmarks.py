"""Benchmarks are not run here, but what they measure must exist, and no quoted number is typed."""

import json

import numpy as np
import pytest
import torch

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


def test_the_bare_loop_takes_the_steps_of_the_job(bench):
    """Else their times could not be compared: the same weights at the end, to the last bit."""
    overhead = bench("overhead")
    case = overhead.make_case("../tests/tiny.yaml", 48, 2)
    ours, plain = overhead.job(case), overhead.bare_loop(case, validate=True)
    assert ours.keys() == plain.keys()
    assert all(torch.equal(ours[name], plain[name]) for name in ours)


def test_the_overhead_is_measured_and_judged_by_the_loop_without_validation(bench, monkeypatch):
    overhead = bench("overhead")
    monkeypatch.setattr(overhead, "PROGRAMS", {"nothing": "pass"})
    sizes = {"N=64, tiny": {"study": "../tests/tiny.yaml", "size_px": 40, "epochs": 1}}
    found = overhead.measure(sizes, rounds=1, threads=1)
    assert set(found["sizes"]["N=64, tiny"]["seconds"]) == {
        overhead.JOB,
        overhead.BARE,
        overhead.CHECKED,
    }
    found["sizes"]["N=64, tiny"]["seconds"] = {
        overhead.JOB: [1.2, 1.2],
        overhead.BARE: [1.0, 1.0],
        overhead.CHECKED: [1.1, 1.2],
    }
    (goal,) = overhead.goals(found)
    assert goal.reached.startswith("20.0 %") and not goal.met
    assert "| N=64, tiny | the job | 1.20 s (1.20 to 1.20) |" in overhead.tables(found)


@pytest.mark.parametrize("task", ["stitching", "reassembly", "SSIM", "ring"])
def test_the_plain_programs_do_what_ours_do(bench, task):
    numerics = bench("numerics")
    tasks = numerics.evaluation(*numerics.make_scene(16, 5, 4, 2))
    (pair,) = (programs for name, programs in tasks.items() if name.startswith(task))
    np.testing.assert_allclose(pair[0](), pair[1](), rtol=1e-9)


def test_the_plain_overlaps_and_rpie_are_ours(bench):
    numerics = bench("numerics")
    scene, patches = numerics.make_scene(16, 5, 4, 2)
    ours, plain = numerics.evaluation(scene, patches)["overlaps of neighbours"]
    found, (products, agreements) = ours(), plain()
    np.testing.assert_allclose(found.agreement_K, agreements, rtol=1e-5)
    np.testing.assert_allclose(found.product_K, products / np.abs(patches).max() ** 2, rtol=1e-4)
    ours, plain = numerics.conventional(16, 4, 4, 2)
    np.testing.assert_allclose(ours(), plain(), atol=1e-4)


def test_numerics_are_measured_and_shown(bench):
    numerics = bench("numerics")
    found = numerics.measure(rounds=1, scan=(16, 5, 3, 2), rpie_scan=(16, 4, 3), passes=1)
    found["seconds"]["SSIM of one image"] = {"here": [0.1], "plain NumPy": [0.5]}
    rows = numerics.tables(found).splitlines()
    assert rows[0] == (
        "2 x 9 patches of 16 px at a step of 5 px; rPIE 9 patterns of 16 px; 1 rounds, one thread."
    )
    assert sum("SSIM of one image | 100 ms" in row and "5.00 (5.00" in row for row in rows) == 1


def test_a_stages_jobs_are_told_apart_by_their_logs(bench, tmp_path):
    """Snakemake notes each output file; two files of one job are one job, training its own."""
    stage = bench("stage_a")
    notes = tmp_path / ".snakemake" / "metadata"
    notes.mkdir(parents=True)
    for number, (rule, log, start, end) in enumerate(
        [
            ("train", "a", 1.0, 5.0),
            ("train", "a", 1.5, 5.0),
            ("train", "b", 5.0, 7.0),
            ("plot", "c", 7.0, 8.0),
        ]
    ):
        note = {"rule": rule, "log": [log], "starttime": start, "endtime": end}
        (notes / str(number)).write_text(json.dumps(note))
    run = tmp_path / "results" / "train" / "seed-0"
    run.mkdir(parents=True)
    (run / "timing.json").write_text('{"wall_s": 3.0}')
    found = {"study": "s", "cores_asked": 2, "wall_s": 10.0, "cpu_s": 12.0}
    found |= {"training_s": stage.training_s(tmp_path), "jobs_s": stage.job_s(tmp_path)}
    assert found["jobs_s"] == {"plot": [1.0], "train": [2.0, 4.0]}
    assert "| train | 2 | 6.00 | 60 % |" in stage.tables(found)
    (goal,) = stage.goals(found)
    assert goal.reached == "30 %" and not goal.met


def test_a_step_is_held_against_the_machine(bench):
    step = bench("training_step")
    found = {
        "conditions": "c",
        "product_flop_per_s": 2e11,
        "flops": {"step": 6e10},
        "bf16": "none",
        "seconds": {name: {"median_s": 0.5, "min_s": 0.4, "max_s": 0.6} for name in ("step, ours", "step, plain")},
        "share_of_product_rate": {"step, ours": {"median": 0.8}, "step, plain": {"median": 0.6}},
        "plain_over_ours": {"step": {"median": 1.3, "min": 1.2, "max": 1.4}},
    }  # fmt: skip
    assert "| step | plain | 500 ms (400 to 600) | 60 % | 1.30 (1.20 to 1.40) |" in step.tables(
        found
    )
    assert [goal.met for goal in step.goals(found)] == [False, True]


def test_the_plain_simulation_makes_what_ours_makes(bench, tiny_study):
    """Free of noise, since its draws depend on the last bit of every amplitude."""
    from ptycho_torch.simulate.dataset import simulate_split
    from ptycho_torch.simulate.probes import make_probe

    settings = tiny_study.datasets["tiny"].model_copy(update={"noise": "none"})
    simulation = bench("simulation")
    plain = simulation.plain_dataset(settings)
    probe = make_probe(settings.probe, settings.patch_px)
    for split, frames in plain.items():
        ours = simulate_split(settings, split, probe).arrays["diffraction"][..., 0]
        np.testing.assert_allclose(frames, ours, rtol=1e-4, atol=1e-6)
    found = simulation.measure(rounds=1, settings=settings)
    assert found["patches"] == sum(map(len, plain.values()))
    assert [goal.met for goal in simulation.goals({**found, "patches": 1})] == [True]
    assert f"{found['patches']:,} patches of 16 px" in simulation.tables(found)


def test_the_start_of_a_script_is_told_from_its_work(bench, monkeypatch):
    startup = bench("startup")
    monkeypatch.setattr(startup, "BELOW", {"Python": startup.BELOW["Python"]})
    found = startup.measure(repeats=1, scripts=["evaluate.py", "reconstruct.py"])
    assert found["imports_torch"]["evaluate.py"] is False
    assert found["imports_torch"]["reconstruct.py"] is True
    spent = {"evaluate.py": [0.5, 0.7, 3.0], "reconstruct.py": [2.0], "training": [6.0]}
    told = {**found, "cpu_seconds": found["cpu_seconds"] | spent}
    assert [(goal.reached.split(",")[0], goal.met) for goal in startup.goals(told)] == [
        ("at most 0.70 s (`evaluate.py`)", True),
        ("6.0 s", False),
    ]
    assert "| `evaluate.py` | no | 0.70 |" in startup.tables(told)


def test_growth_of_tiny_sizes_and_its_powers(bench):
    growth = bench("growth")
    middle = growth.Size(width=4, patch_px=16, blocks=2, batch=2)
    found = json.loads(json.dumps(growth.measure({"batch": (2, 4)}, middle, rounds=1)))
    sizes = found["axes"]["batch"]
    assert sizes["4"]["gflop"] == 2 * sizes["2"]["gflop"]
    assert 1 < sizes["4"]["memory_mib"] / sizes["2"]["memory_mib"] <= 2
    assert growth.power(sizes, "gflop") == pytest.approx(1)
    sizes["4"]["seconds"]["median_s"] = 8 * sizes["2"]["seconds"]["median_s"]
    assert growth.power(sizes, "seconds") == pytest.approx(3)
    assert "| batch | 3.0 | 1.0 |" in growth.tables(found)
