"""Reports: what the probe and the monitor say of one network, or of many (docs/files.md).

A network's entry says what it is (`network`), then the numbers. A network that cannot be looked at
is an entry too: `unusable` says why, and there are no numbers.
"""

from typing import Any

from ptycho_torch import __version__
from ptycho_torch.config.evaluation import DiagnosticsSettings
from ptycho_torch.diagnose.activations import layer_statistics, monitor_activations
from ptycho_torch.diagnose.gradients import probe_gradients
from ptycho_torch.diagnose.subject import Sample, Subject
from ptycho_torch.networks.heads import INPUT_TRANSFORMS

Entry = dict[str, Any]


def gradient_entry(subject: Subject, settings: DiagnosticsSettings) -> Entry:
    """Return a network's entry in `gradient_report.json`."""
    probe = probe_gradients(
        subject.network, subject.training_loss, min_ratio=settings.min_gradient_ratio
    )
    return {"network": subject.label, "unusable": None, "loss_name": subject.loss, **probe}


def activation_entry(subject: Subject, settings: DiagnosticsSettings) -> Entry:
    """Return a network's entry in `activation_report.json`."""
    found = monitor_activations(subject.network, subject.input_BCHW, settings)
    return {"network": subject.label, "unusable": None, **found}


def unusable_entry(label: dict[str, Any], reason: str) -> Entry:
    """Return the entry of a network that cannot be looked at."""
    return {"network": label, "unusable": reason}


def report_head(
    sample: Sample | None, settings: DiagnosticsSettings, dataset: str | None = None
) -> dict[str, Any]:
    """Return what a report says before its numbers: data, thresholds, version."""
    thresholds = ("min_gradient_ratio", "min_output_ratio", "max_p99_over_p50", "max_dc_share")
    return {
        "ptycho_torch": __version__,
        "dataset": dataset,
        "data": None if sample is None else sample.facts,
        "thresholds": {name: getattr(settings, name) for name in thresholds},
    }


def input_statistics(sample: Sample, input_scale: float) -> dict[str, Any]:
    """Return what each input transform would hand to a network: `layer_statistics` by its name."""
    scaled = sample.amplitude_BCHW * input_scale
    return {
        name: layer_statistics(transform(scaled)) for name, transform in INPUT_TRANSFORMS.items()
    }
