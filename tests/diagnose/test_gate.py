"""The gate's table of cases, and that no verdict is more than its seeds support."""

import math

import pytest

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.config.read import load_yaml, parse_study
from ptycho_torch.diagnose.gate import decide, judge, judge_drift, judge_states, next_step

STATISTICS = StatisticsSettings(resamples=200)


@pytest.fixture
def study(root):
    data = load_yaml(root / "tests/tiny.yaml")
    data["statistics"] = {**data.get("statistics", {}), "resamples": 200}
    return parse_study(data, "study")


def networks(key, value, *, seeds, state="fresh", name="hybrid-4", spread=0.05, **more):
    """Entries of one group: values near `value`, alternately above and below it."""
    return [
        {
            "network": {"name": name, "seed": n, "state": state, "generator": name.split("-")[0],
                        "initialisation": "1/in"},
            key: None if value is None else value * math.exp(spread * math.sin(3 * n + 1)),
            **more,
        }
        for n in range(seeds)
    ]  # fmt: skip


@pytest.fixture
def gate(study):
    def decided(*, ratio=0.5, dc=0.1, seeds=10, passed=True, trained=None, trained_seeds=10):
        gradients = networks("spectral_local_ratio", ratio, seeds=seeds)
        if trained is not None:
            more = {"seeds": trained_seeds, "state": "best"}
            gradients += networks("spectral_local_ratio", trained, **more)
        check = {"check": "MAE", "expected": "1", "found": "5", "passed": passed}
        return decide(
            study,
            gradients=gradients,
            activations=networks("dc_share", dc, seeds=seeds),
            units=[{"dataset": "tiny", "losses": [check], "dataset_checks": []}],
        )

    return decided


H, N, U = "holds", "does not hold", "undecided"
CASES = [
    ({}, (N, N, N), "Nothing follows"),
    ({"ratio": 0.02}, (H, N, N), "spectral scaling holds. Find out whether it matters"),
    ({"passed": False}, (N, H, N), "loss units holds. Correct the loss"),
    ({"dc": 0.8}, (N, N, H), "input transform holds. Compare input transforms"),
    ({"ratio": 0.02, "passed": False, "dc": 0.8}, (H, H, H), "spectral scaling holds"),
    ({"ratio": 0.02, "seeds": 5}, (U, N, U), "untrained networks have 5 seeds, at least 6"),
    ({"ratio": 0.1}, (U, N, N), "untrained networks lie too near the threshold for 10 seeds"),
    ({"ratio": None}, (U, N, N), "no network has the number"),
    ({"trained": 0.5, "trained_seeds": 2}, (U, N, N), "trained runs have 2 seeds, at least 6"),
    ({"trained": 0.02}, (H, N, N), "spectral scaling holds"),
]


@pytest.mark.parametrize(("case", "verdicts", "expected"), CASES)
def test_the_table_of_cases(gate, case, verdicts, expected):
    hypotheses = gate(**case)
    assert tuple(item.verdict for item in hypotheses) == verdicts
    assert expected in next_step(hypotheses)


def test_the_input_transform_is_asked_for_only_once_the_first_two_are_clean(gate):
    for case in ({"ratio": 0.02}, {"passed": False}, {"ratio": 0.1}):
        last = gate(dc=0.8, **case)[2]
        assert last.verdict == H and last.block is None
        assert last.follows.startswith("Not yet: ")
    assert gate(dc=0.8)[2].block is not None


@pytest.mark.parametrize(("case", "place"), [({"ratio": 0.02}, 0), ({"dc": 0.8}, 2)])
def test_a_proposed_block_can_be_added_to_the_study(root, gate, tmp_path, case, place):
    data = load_yaml(root / "tests/tiny.yaml")
    block = tmp_path / "block.yaml"
    block.write_text(gate(**case)[place].block)
    data["sweeps"] = {**data["sweeps"], **load_yaml(block)["sweeps"]}
    assert len(parse_study(data, "study").sweeps) == len(data["sweeps"])


def test_evidence_names_numbers_networks_and_seeds(gate):
    text = gate(ratio=0.02, trained=0.03, trained_seeds=2)[0].because
    assert "below the threshold in 10 of 10 networks (10 seeds); shown for `hybrid-4`" in text
    assert "in 2 of 2 networks (2 seeds); shown for none" in text


def test_the_family_is_corrected_for_its_size():
    """Six seeds can show one group (p = 1/32) but none of two."""
    one = networks("r", 0.02, seeds=6)
    two = one + networks("r", 0.02, seeds=6, name="hybrid-8")
    sides = [[g.side for g in judge_states(e, "r", 0.1, STATISTICS)] for e in (one, two)]
    assert sides == [["below"], ["undecided", "undecided"]]


def test_an_interval_is_of_the_geometric_mean():
    (group,) = judge({"hybrid-4": dict.fromkeys(range(8), 0.02)}, "fresh", 0.1, STATISTICS)
    assert group.mean == pytest.approx(0.02) and group.p == pytest.approx(2 / 2**8)
    assert (group.interval.low, group.interval.high) == pytest.approx((0.02, 0.02))


@pytest.mark.parametrize(
    ("hybrid", "stable", "seeds", "spread", "verdict"),
    [
        (1.4, 1.0, 10, 0.0, "supported"),
        (1.4, 1.0, 4, 0.0, "undecided"),
        (1.0, 1.0, 10, 0.0, "undecided"),
        (0.7, 1.0, 10, 0.0, "refuted"),
        (1.4, 1.4, 10, 0.05, "refuted"),
        (1.4, 1.0, 10, 0.05, "undecided"),
    ],
)
def test_the_drift_hypothesis_has_two_halves(study, hybrid, stable, seeds, spread, verdict):
    entries = networks("growth_per_block", hybrid, seeds=seeds) + networks(
        "growth_per_block", stable, seeds=seeds, name="stable_hybrid-4", spread=spread,
        blocks=[{"update_mean": -0.25}],
    )  # fmt: skip
    drift = judge_drift(entries, study)
    assert (drift["verdict"], drift["largest_update"]) == (verdict, 0.25)
