"""Settings of the diagnoses."""

import json

from ptycho_torch.config.evaluation import DiagnosticsSettings
from ptycho_torch.config.plan import untrained_networks
from ptycho_torch.config.read import parse_study
from ptycho_torch.diagnose.activations import monitor_activations
from ptycho_torch.diagnose.gradients import probe_gradients
from ptycho_torch.diagnose.loss_units import check_dataset
from ptycho_torch.diagnose.networks import untrained_subjects
from ptycho_torch.diagnose.subject import read_sample


def diagnostics(**changed):
    return DiagnosticsSettings.model_validate({"groups": 2, "seeds": 1, **changed})


def sample_of(tools, settings):
    return read_sample(
        tools.dataset.splits["train"], patch_px=16, groups=settings.groups,
        seed=settings.groups_seed,
    )  # fmt: skip


def sampled(key, value):
    def flip(tools):
        one, other = (sample_of(tools, s) for s in (diagnostics(), diagnostics(**{key: value})))
        assert repr(one.batch) != repr(other.batch)

    return flip


def subjects(tools, settings):
    networks = dict(list(untrained_networks(tools.study).items())[:1])
    return list(untrained_subjects(networks, sample_of(tools, settings), settings))


def flagged(key, value):
    """Return a flip of a threshold that must flag other layers or blocks of a fresh network."""

    def flip(tools):
        found = []
        for settings in (diagnostics(), diagnostics(**{key: value})):
            subject = tools.subject
            report = monitor_activations(subject.network, subject.input_BCHW, settings)
            found.append(json.dumps(report))
        assert found[0] != found[1]

    return flip


def gradient_threshold(tools):
    subject = tools.subject
    reports = [
        json.dumps(probe_gradients(subject.network, subject.training_loss, min_ratio=ratio))
        for ratio in (1e-9, 1 - 1e-9)
    ]
    assert reports[0] != reports[1]


def photon_tolerance(tools):
    passed = [
        check_dataset(
            tools.dataset.splits["train"], patch_px=16, photons=1.05e9, tolerance=tolerance
        )[0]["passed"]
        for tolerance in (0.01, 0.2)
    ]
    assert passed == [False, True]


def fresh(key, value):
    """Return a flip of the study's block `diagnostics` that must compare other networks."""

    def flip(tools):
        other = parse_study({**tools.tiny, "diagnostics": {key: value}}, "t")
        assert set(untrained_networks(tools.study)) != set(untrained_networks(other))

    return flip


def seeds_of_fresh(tools):
    assert diagnostics(seeds=3).seed_list != diagnostics(seeds=[4]).seed_list
    assert len(subjects(tools, diagnostics(seeds=2))) == 2 * len(subjects(tools, diagnostics()))


FLIPS = {
    "DiagnosticsSettings.groups": sampled("groups", 3),
    "DiagnosticsSettings.groups_seed": sampled("groups_seed", 1),
    "DiagnosticsSettings.seeds": seeds_of_fresh,
    "DiagnosticsSettings.depths": fresh("depths", [5]),
    "DiagnosticsSettings.min_gradient_ratio": gradient_threshold,
    "DiagnosticsSettings.min_output_ratio": flagged("min_output_ratio", 1 - 1e-9),
    "DiagnosticsSettings.max_p99_over_p50": flagged("max_p99_over_p50", 1 + 1e-9),
    "DiagnosticsSettings.max_dc_share": flagged("max_dc_share", 1e-9),
    "DiagnosticsSettings.photon_tolerance": photon_tolerance,
}
