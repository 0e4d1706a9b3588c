"""`ptycho-torch diagnose`: its reports, and one line for a mistake; the gate's table of cases; the
checks of the loss's units."""

import json
import math

import numpy as np
import pytest
from tests.commands import run
from tests.samples import a_scan, untrained_bundle, write_cxi

from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.scan import FitSettings
from ptycho_torch.data.training import data_of_scan
from ptycho_torch.diagnose.decision import decide, judge
from ptycho_torch.diagnose.networks import check_units
from ptycho_torch.diagnose.subject import read_sample
from ptycho_torch.networks.bundle import write_bundle
from ptycho_torch.train.run import train_scan


@pytest.fixture
def call(tmp_path):
    """Run the command; return its status, what it said, and the report."""

    def do(*words):
        status, out, err = run("diagnose", *words, "--output", tmp_path / "out")
        path = tmp_path / "out" / f"{words[0].removesuffix('s')}_report.json"
        return status, out + err, json.loads(path.read_text()) if path.exists() else None

    return do


def test_one_block_is_probed_without_data(call):
    words = ("--block", "layerscale_hybrid", "--channels", 3, "--modes", 3, "--patch-px", 8)
    status, said, report = call("gradients", *words)
    assert status == 0 and "spectral / local gradient" in said
    assert set(report["initialisations"]) == {"1/in", "1/(in*out)"}
    assert report["network"]["block"] == "layerscale_hybrid" and report["network"]["channels"] == 3
    (block,) = report["blocks"]
    assert block["spectral_gradients"]["mean"] == pytest.approx(report["spectral_grad_mean"])


def test_an_untrained_network_is_diagnosed_on_a_split(call, tiny_dataset):
    words = ("--architecture", "hybrid", "--seed", 2, tiny_dataset.splits["test"], "--groups", 4)
    status, _, report = call("gradients", *words)
    assert status == 0 and report["spectral_local_ratio"] > 0
    assert (report["network"]["seed"], report["data"]["groups"]) == (2, 4)
    assert len(report["blocks"]) == 5
    status, _, report = call("activations", *words)
    assert status == 0 and report["growth_per_block"] > 0
    assert report["thresholds"]["max_p99_over_p50"] == 5


def test_an_architecture_is_diagnosed_without_a_study_on_patterns_alone(call, tmp_path):
    np.savez(tmp_path / "only.npz", diffraction=a_scan(counts=1e4).amplitude_nHW)
    words = ("--architecture", "stable_hybrid", "--data", tmp_path / "only.npz")
    status, said, report = call("activations", *words, "--device", "cpu", "--max-samples", 8)
    assert status == 0, said
    assert report["data"]["groups"] == 8 and report["network"]["generator"] == "stable_hybrid"
    assert report["summary"]["layers"] == len(report["layers"])
    ratios = [row["low_freq_ratio"] for row in report["layers"]]  # None where a norm is still 0.
    assert all(0 <= ratio <= 1 + 1e-9 for ratio in ratios if ratio is not None)
    status, said, _ = call("gradients", *words)
    assert status == 1 and "only.npz: has no probe" in said


def test_a_bundle_made_by_train_is_diagnosed_on_any_scan(call, tmp_path, tiny_dataset, caplog):
    scan = a_scan(counts=1e4, modes=2)
    write_cxi(tmp_path / "scan.cxi", scan)
    generator = GeneratorSettings(name="layerscale_hybrid", width=4, fno_blocks=2, modes=4)
    training = FitSettings(name="made").training.model_copy(update={"epochs": 1})
    settings = FitSettings(name="made", gap_px=3.0, generator=generator, training=training)
    train_scan(data_of_scan(scan, settings), settings, tmp_path / "run")
    words = ("--bundle", tmp_path / "run/bundle", "--data", tmp_path / "scan.cxi")
    status, said, report = call("gradients", *words)
    assert status == 0 and report["loss_name"] == "mae", said
    gates = [row["norm_weights"] for row in report["blocks"]]
    # The scale starts at a thousandth, and one epoch hardly moves it.
    assert all(gate["near_zero"] == 1 and 1e-4 < gate["mean"] < 1e-2 for gate in gates)
    other = ("--bundle", tmp_path / "run/bundle", "--data", tiny_dataset.splits["train"])
    assert call("gradients", *other, "--loss", "poisson")[2]["loss_name"] == "poisson"
    assert "was trained with another probe than the data's" in caplog.text


def test_a_users_mistake_is_one_line_and_writes_nothing(call, tiny_dataset, tmp_path):
    """The records of these bundles say nothing of a training."""
    data = tiny_dataset.splits["train"]
    bundle, merged = tmp_path / "bundle", tmp_path / "merged"
    write_bundle(bundle, untrained_bundle())
    write_bundle(merged, untrained_bundle(gridsize=2))
    mistakes = {
        ("--bundle", bundle, "--architecture", "fno", "--data", data): "and one network",
        ("--bundle", merged, "--data", data): "groups of 4 patches, the data has 1",
        ("--architecture", "fno"): "give FILE, whose groups",
        ("--architecture", "fno", "--data", tmp_path / "x.npz"): "x.npz: cannot be read",
        ("--data", data): "and one network: --bundle DIR or --architecture NAME",
    }
    mistakes = {("activations", *words): message for words, message in mistakes.items()} | {
        ("gradients", "--bundle", bundle, "--data", data): "does not say which loss trained it",
        ("gradients", "--bundle", bundle, "--modes", 3): "and --patch-px are of one block",
        ("gradients", "--groups", 3): "give FILE, whose groups",
    }
    for words, message in mistakes.items():
        status, said, report = call(*words)
        assert (status, report) == (1, None), said
        assert message in said and "Traceback" not in said
        assert said.strip().startswith("ptycho-torch: ") and said.count("\n") == 1, said


STATISTICS = StatisticsSettings(resamples=200)


def networks(key, value, *, seeds=10, state="fresh", name="hybrid-4", spread=0.05):
    """Entries of one group: values near `value`, alternately above and below it."""
    known = {"name": name, "state": state, "generator": name.split("-")[0]}
    entries = [{"network": {**known, "seed": n}, key: value} for n in range(seeds)]
    for n, entry in enumerate(entries):
        if value is not None:
            entry[key] *= math.exp(spread * math.sin(3 * n + 1))
    return entries


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
def test_the_table_of_cases(tiny_study, case, verdicts):
    study = tiny_study.model_copy(update={"statistics": STATISTICS})
    case = {"ratio": 0.5, "dc": 0.1, "seeds": 10, "passed": True, "trained_seeds": 10} | case
    gradients = networks("spectral_local_ratio", case["ratio"], seeds=case["seeds"])
    if "trained" in case:
        more = {"seeds": case["trained_seeds"], "state": "best"}
        gradients += networks("spectral_local_ratio", case["trained"], **more)
    activations = networks("dc_share", case["dc"], seeds=case["seeds"])
    check = {"check": "MAE", "expected": "1", "found": "5", "passed": case["passed"]}
    units = [{"dataset": "tiny", "checks": [check]}]
    hypotheses = decide(study, gradients=gradients, activations=activations, units=units)
    assert tuple(item["verdict"] for item in hypotheses) == verdicts


def test_the_family_is_corrected_for_its_size():
    """Six seeds can show one group (p = 1/32) but none of two. Intervals are of geometric means."""
    one = networks("r", 0.02, seeds=6)
    two = one + networks("r", 0.02, seeds=6, name="hybrid-8")
    sides = [[g["side"] for g in judge(e, "r", 0.1, STATISTICS)] for e in (one, two)]
    assert sides == [["below"], ["undecided", "undecided"]]
    (group,) = judge(networks("r", 0.02, seeds=8, spread=0), "r", 0.1, STATISTICS)
    assert group["interval"] == pytest.approx({"low": 0.02, "high": 0.02})


@pytest.mark.parametrize(
    ("growth", "spread", "side"),
    [(1.4, 0.05, "above"), (0.7, 0.05, "below"), (1.0, 0.05, "undecided"), (1.0, 0.0, "at")],
)
def test_blocks_that_change_nothing_are_told_from_those_that_show_nothing(growth, spread, side):
    entries = networks("growth_per_block", growth, spread=spread)
    assert [g["side"] for g in judge(entries, "growth_per_block", 1.0, STATISTICS)] == [side]


def units_of(path):
    """The checks, and the names of those that failed."""
    checks = check_units(read_sample(path, patch_px=16, groups=1), 1e9, tolerance=0.01)
    return checks, [check["check"] for check in checks if not check["passed"]]


def test_the_losses_in_force_pass(tiny_dataset):
    checks, failed = units_of(tiny_dataset.splits["train"])
    assert len(checks) == 3 and failed == []
    assert checks[1]["found"] == "4.32518"  # 4 - 9 ln 4 + ln 9!


@pytest.mark.parametrize(
    ("name", "mistake", "check"),
    [
        # On intensities, and on amplitudes.
        ("data.batch.mae_loss", lambda p, o, *_: (p**2 - o**2).abs().mean(), "MAE"),
        ("data.batch.poisson_loss", lambda p, o, *_: (p - o * p.log()).mean(), "Poisson"),
    ],
)
def test_a_loss_of_wrong_units_fails_by_name(monkeypatch, tiny_dataset, name, mistake, check):
    monkeypatch.setattr(f"ptycho_torch.{name}", mistake)
    _, (failed,) = units_of(tiny_dataset.splits["train"])
    assert failed.startswith(check)


@pytest.mark.parametrize(
    ("array", "change"),
    [
        ("intensity_scale", lambda a: a / 2),
        ("diffraction", np.square),
        ("diffraction", lambda a: 1.03 * a),
    ],
)
def test_a_wrong_scale_and_intensities_are_found(tiny_dataset, tmp_path, array, change):
    arrays = dict(np.load(tiny_dataset.splits["train"]))
    np.savez(tmp_path / "train.npz", **arrays | {array: change(arrays[array])})
    _, failed = units_of(tmp_path / "train.npz")
    assert failed == ["mean photons of a pattern, sum of (s A)^2"]
