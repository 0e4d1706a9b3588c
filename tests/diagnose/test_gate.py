"""The gate's table of cases: no verdict is more than its seeds support, and the checks of the loss's
units fail on planted mistakes."""

import math

import numpy as np
import pytest

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.config.read import load_yaml, parse_study
from ptycho_torch.diagnose.decision import decide, judge
from ptycho_torch.diagnose.loss_units import check_dataset, check_losses

STATISTICS = StatisticsSettings(resamples=200)


@pytest.fixture
def study(root):
    data = load_yaml(root / "tests/tiny.yaml")
    data["statistics"] = {**data.get("statistics", {}), "resamples": 200}
    return parse_study(data, "study")


def networks(key, value, *, seeds=10, state="fresh", name="hybrid-4", spread=0.05):
    """Entries of one group: values near `value`, alternately above and below it."""
    return [
        {
            "network": {
                "name": name, "seed": n, "state": state, "generator": name.split("-")[0]
            },
            key: None if value is None else value * math.exp(spread * math.sin(3 * n + 1)),
        }
        for n in range(seeds)
    ]  # fmt: skip


H, N, U = "holds", "does not hold", "undecided"


@pytest.mark.parametrize(
    ("case", "verdicts"),
    [
        ({}, (N, N, N)),
        ({"ratio": 0.02}, (H, N, N)),
        ({"passed": False}, (N, H, N)),
        ({"dc": 0.8}, (N, N, H)),
        ({"ratio": 0.02, "passed": False, "dc": 0.8}, (H, H, H)),
        ({"ratio": 0.02, "seeds": 5}, (U, N, U)),
        ({"ratio": 0.1}, (U, N, N)),
        ({"ratio": None}, (U, N, N)),
        ({"trained": 0.5, "trained_seeds": 2}, (U, N, N)),
        ({"trained": 0.02}, (H, N, N)),
    ],
)
def test_the_table_of_cases(study, case, verdicts):
    case = {"ratio": 0.5, "dc": 0.1, "seeds": 10, "passed": True, "trained_seeds": 10} | case
    gradients = networks("spectral_local_ratio", case["ratio"], seeds=case["seeds"])
    if "trained" in case:
        gradients += networks(
            "spectral_local_ratio", case["trained"], seeds=case["trained_seeds"], state="best"
        )
    activations = networks("dc_share", case["dc"], seeds=case["seeds"])
    check = {"check": "MAE", "expected": "1", "found": "5", "passed": case["passed"]}
    units = [{"dataset": "tiny", "losses": [check], "dataset_checks": []}]
    hypotheses = decide(study, gradients=gradients, activations=activations, units=units)
    assert tuple(item["verdict"] for item in hypotheses) == verdicts


def test_the_family_is_corrected_for_its_size():
    """Six seeds can show one group (p = 1/32) but none of two."""
    one = networks("r", 0.02, seeds=6)
    two = one + networks("r", 0.02, seeds=6, name="hybrid-8")
    sides = [[g["side"] for g in judge(e, "r", 0.1, STATISTICS)] for e in (one, two)]
    assert sides == [["below"], ["undecided", "undecided"]]


def test_an_interval_is_of_the_geometric_mean():
    (group,) = judge(networks("r", 0.02, seeds=8, spread=0), "r", 0.1, STATISTICS)
    assert group["mean"] == pytest.approx(0.02) and group["p"] == pytest.approx(2 / 2**8)
    assert group["interval"] == pytest.approx({"low": 0.02, "high": 0.02})


@pytest.mark.parametrize(
    ("growth", "spread", "side"),
    [(1.4, 0.05, "above"), (0.7, 0.05, "below"), (1.0, 0.05, "undecided"), (1.0, 0.0, "at")],
)
def test_blocks_that_change_nothing_are_told_from_those_that_show_nothing(growth, spread, side):
    entries = networks("growth_per_block", growth, spread=spread)
    assert [g["side"] for g in judge(entries, "growth_per_block", 1.0, STATISTICS)] == [side]


def failed(checks):
    return [check["check"] for check in checks if not check["passed"]]


def test_the_losses_in_force_pass():
    checks = check_losses()
    assert len(checks) == 3 and failed(checks) == []
    assert checks[1]["found"] == "4.32518"  # 4 - 9 ln 4 + ln 9!


@pytest.mark.parametrize(
    ("name", "mistake", "check"),
    [
        # On intensities, on amplitudes, and no unitary far field.
        ("data.batch.mae_loss", lambda p, o, *_: (p**2 - o**2).abs().mean(), "MAE"),
        ("data.batch.poisson_loss", lambda p, o, *_: (p - o * p.log()).mean(), "Poisson"),
        ("diagnose.loss_units.intensities", lambda p, _: 2 * p.abs().square(), "forward model"),
    ],
)
def test_a_loss_of_wrong_units_fails_by_name(monkeypatch, name, mistake, check):
    monkeypatch.setattr(f"ptycho_torch.{name}", mistake)
    (said,) = failed(check_losses())
    assert said.startswith(check)


PHOTONS, POWER = "mean photons of a pattern, sum of (s A)^2", "power of the patterns over that"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"intensity_scale": lambda a: a / 2}, [PHOTONS]),
        ({"diffraction": np.square}, [PHOTONS, POWER]),
        ({"diffraction": lambda a: 1.03 * a}, [PHOTONS]),
    ],
)
def test_a_wrong_scale_and_intensities_are_found(tiny_dataset, tmp_path, changes, expected):
    arrays = dict(np.load(tiny_dataset.splits["train"]))
    np.savez(tmp_path / "train.npz", **arrays | {k: how(arrays[k]) for k, how in changes.items()})
    names = failed(check_dataset(tmp_path / "train.npz", patch_px=16, photons=1e9, tolerance=0.01))
    assert [name[: len(start)] for name, start in zip(names, expected, strict=True)] == expected
