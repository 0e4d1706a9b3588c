"""Which seeds share a job: those of one arm that the same stages want."""

from ptycho_torch.config.read import parse_study
from ptycho_torch.config.together import seed_jobs


def jobs(tiny, *, seeds, deep_seeds):
    tiny["execution"]["seeds_together"] = True
    tiny["stage_a"]["seeds"] = seeds
    tiny["stage_b"]["seeds"] = deep_seeds
    return {(job.arm, job.seeds) for job in seed_jobs(parse_study(tiny, "x"))}


def test_nothing_is_trained_together_unless_it_is_asked_for(tiny):
    tiny["stage_a"]["seeds"] = 3
    assert seed_jobs(parse_study(tiny, "x")) == []


def test_an_arm_that_asks_for_it_does_so_alone(tiny):
    tiny["stage_a"]["seeds"] = 3
    tiny["arms"]["agc"]["execution"]["seeds_together"] = True
    found = seed_jobs(parse_study(tiny, "x"))
    assert {job.arm for job in found} == {
        "agc",
        "agc-max_ratio-0.1",
        "agc-fno_blocks-3",
    }


def test_seeds_that_a_later_stage_alone_wants_are_not_trained_for_an_earlier_one(tiny):
    found = jobs(tiny, seeds=[0, 1], deep_seeds=[0, 1, 5, 6])
    assert {("control", (0, 1)), ("control", (5, 6))} <= found
    assert ("control-fno_blocks-3", (0, 1, 5, 6)) in found
    # Either arm may win, and then runs in Stage B.
    assert ("agc-fno_blocks-3", (0, 1, 5, 6)) in found
    assert ("agc-max_ratio-0.1", (0, 1)) in found


def test_a_seed_with_no_other_beside_it_has_a_job_of_its_own(tiny):
    found = jobs(tiny, seeds=[0, 1, 2], deep_seeds=[0, 1])
    assert ("control", (0, 1)) in found
    assert not any(2 in seeds for arm, seeds in found if arm == "control")
    assert ("agc-max_ratio-0.1", (0, 1, 2)) in found
