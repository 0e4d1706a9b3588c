"""Diagnose many networks in one job: untrained ones over seeds, trained runs from their bundles.

A network's entry in a report says what it is (`network`), then the numbers (docs/files.md). A
network that cannot be looked at is an entry too: `unusable` says why, and there are no numbers.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ptycho_torch import __version__
from ptycho_torch.config.evaluation import DiagnosticsSettings
from ptycho_torch.config.plan import UntrainedNetwork
from ptycho_torch.diagnose.activations import layer_statistics, monitor_activations
from ptycho_torch.diagnose.gradients import probe_gradients
from ptycho_torch.diagnose.initialisation import redraw
from ptycho_torch.diagnose.loss_units import check_dataset, check_losses
from ptycho_torch.diagnose.subject import (
    Sample,
    Subject,
    bundle_subject,
    read_sample,
    trained_loss,
    untrained_subject,
)
from ptycho_torch.files import io
from ptycho_torch.files.schemas import RunRecord, read_result
from ptycho_torch.networks.bundle import WEIGHTS, Bundle, read_bundle
from ptycho_torch.networks.heads import INPUT_TRANSFORMS
from ptycho_torch.runtime.jobs import usable_threads

logger = logging.getLogger(__name__)

Entry = dict[str, Any]
Paths = Mapping[str, io.PathLike]


def gradient_entry(subject: Subject, settings: DiagnosticsSettings) -> Entry:
    """Return a network's entry in `gradient_report.json`."""
    probe = probe_gradients(
        subject.network, subject.training_loss, min_ratio=settings.min_gradient_ratio
    )
    return {"network": subject.label, "unusable": None, "loss_name": subject.loss, **probe}


def activation_entry(subject: Subject, settings: DiagnosticsSettings) -> Entry:
    """Return a network's entry in `activation_report.json`."""
    numbers = monitor_activations(subject.network, subject.input_BCHW, settings)
    return {"network": subject.label, "unusable": None, **numbers}


def report_head(
    sample: Sample | None, settings: DiagnosticsSettings, dataset: str | None = None
) -> dict[str, Any]:
    """Return what a report says before its numbers: data, thresholds, version."""
    thresholds = {"min_gradient_ratio", "min_output_ratio", "max_p99_over_p50", "max_dc_share"}
    return {
        "ptycho_torch": __version__,
        "dataset": dataset,
        "data": None if sample is None else sample.facts,
        "thresholds": settings.model_dump(include=thresholds),
    }


def input_statistics(sample: Sample, input_scale: float) -> dict[str, Any]:
    """Return what each input transform would hand to a network: `layer_statistics` by its name."""
    scaled = sample.amplitude_BCHW * input_scale
    return {
        name: layer_statistics(transform(scaled)) for name, transform in INPUT_TRANSFORMS.items()
    }


def diagnose_untrained(
    networks: Mapping[str, UntrainedNetwork],
    *,
    train: io.PathLike,
    dataset: io.PathLike,
    settings: DiagnosticsSettings,
    outputs: Paths,
    threads: int,
) -> None:
    """Write the reports of untrained networks at every seed, and the checks of the loss's units.

    `hybrid` is also looked at with spectral weights as they were drawn before (`1/(in*out)`).

    Parameters
    ----------
    networks
        By name.
    train, dataset
        Training split, and `dataset.json`, whose checksum it must have.
    settings
        Seeds, groups and thresholds.
    outputs
        Paths of `gradients`, `activations` and `units`.
    threads
        CPU threads that torch may use.

    Raises
    ------
    InputError
        If a file is damaged, or a network cannot be built for its patches.
    """
    facts, sample = _prepare(train, dataset, settings, threads)
    subjects = untrained_subjects(networks, sample, settings)
    _write_reports(subjects, sample, settings, outputs, facts["dataset"])
    checks = check_dataset(
        train, patch_px=facts["patch_px"], photons=facts["settings"].get("photons"),
        tolerance=settings.photon_tolerance,
    )  # fmt: skip
    report = {"dataset": facts["dataset"], "losses": check_losses(), "dataset_checks": checks}
    io.write_json(outputs["units"], report)


def untrained_subjects(
    networks: Mapping[str, UntrainedNetwork], sample: Sample, settings: DiagnosticsSettings
) -> Iterator[Subject]:
    """Yield each network at each seed; `hybrid` with both initial distributions."""
    for name, network in networks.items():
        for seed in settings.seed_list:
            yield untrained_subject(network, seed, sample, name=name, initialisation="1/in")
            if network.generator.name == "hybrid":
                label = {"name": name, "initialisation": "1/(in*out)"}
                before = untrained_subject(network, seed, sample, **label)
                redraw(before.network, seed)
                yield before


def diagnose_runs(
    runs: Sequence[io.PathLike],
    *,
    train: io.PathLike,
    dataset: io.PathLike,
    settings: DiagnosticsSettings,
    outputs: Paths,
    threads: int,
) -> None:
    """Write the reports of trained runs: their best weights, of those that failed also the last.

    Parameters
    ----------
    runs
        `run.json` of each; the bundle and the last weights lie beside it.
    train, dataset, settings, outputs, threads
        As for `diagnose_untrained`; outputs are `gradients` and `activations`.

    Raises
    ------
    InputError
        If a file is damaged. Weights that are not finite are a result: an entry without numbers.
    """
    facts, sample = _prepare(train, dataset, settings, threads)
    subjects = (subject for path in runs for subject in _states(Path(path), sample))
    _write_reports(subjects, sample, settings, outputs, facts["dataset"])


def _states(path: Path, sample: Sample) -> Iterator[Subject | Entry]:
    """Yield a run's best and, if it failed, last weights; an entry where they cannot be used."""
    run = read_result(path, RunRecord)
    generator = run["settings"]["generator"]
    label = {
        "name": run["arm"], "seed": run["seed"], "outcome": run["outcome"],
        "generator": generator["name"], "fno_blocks": generator["fno_blocks"],
    }  # fmt: skip
    folder = path.parent / "bundle"
    # Read before the bundle, which refuses what is not finite without saying that it is data.
    if reason := _not_finite(io.read_tensors(folder / WEIGHTS)):
        yield {"network": {**label, "state": "best"}, "unusable": reason}
        return
    best = read_bundle(folder)
    loss = trained_loss(best, folder)
    yield bundle_subject(best, sample, loss, where=folder, **label, state="best")
    if run["outcome"] != "completed":
        weights = io.read_tensors(path.parent / "last.safetensors")
        if reason := _not_finite(weights):
            yield {"network": {**label, "state": "last"}, "unusable": reason}
            return
        last = Bundle(settings=best.settings, weights=weights, probe_MHW=best.probe_MHW)
        yield bundle_subject(last, sample, loss, where=path.parent, **label, state="last")


def _not_finite(tensors: Mapping[str, torch.Tensor]) -> str | None:
    bad = sorted(name for name, tensor in tensors.items() if not torch.isfinite(tensor).all())
    return f"{len(bad)} tensors hold NaN or infinity, the first is {bad[0]}" if bad else None


def _prepare(
    train: io.PathLike, dataset: io.PathLike, settings: DiagnosticsSettings, threads: int
) -> tuple[dict[str, Any], Sample]:
    torch.set_num_threads(usable_threads(threads))
    facts = io.read_json(dataset)
    checksum = facts["splits"]["train"]["sha256"]
    return facts, read_sample(
        train, patch_px=facts["patch_px"], groups=settings.groups, seed=settings.groups_seed,
        sha256=checksum,
    )  # fmt: skip


def _write_reports(
    subjects: Iterable[Subject | Entry],
    sample: Sample,
    settings: DiagnosticsSettings,
    outputs: Paths,
    dataset: str,
) -> None:
    """Look at one network after the other; only numbers are kept of each."""
    gradients, activations = [], []
    for subject in subjects:
        if isinstance(subject, Subject):
            gradients.append(gradient_entry(subject, settings))
            activations.append(activation_entry(subject, settings))
            logger.info("diagnosed %s", " ".join(map(str, subject.label.values())))
        else:
            logger.warning("%s: %s", subject["network"], subject["unusable"])
            gradients.append(subject)
            activations.append(subject)
    head = report_head(sample, settings, dataset)
    io.write_json(outputs["gradients"], {**head, "networks": gradients})
    inputs = input_statistics(sample, 1.0)
    io.write_json(outputs["activations"], {**head, "inputs": inputs, "networks": activations})
