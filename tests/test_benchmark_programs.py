"""The programs that are timed do the same, and what is measured of them is shown as it is."""

import json

import numpy as np
import pytest
import torch


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
