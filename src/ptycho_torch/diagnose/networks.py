"""Diagnose networks: untrained ones over seeds, trained runs from their bundles, one block alone.

A network's entry in a report says what it is (`network`), then its numbers
(docs/reference/files.md), or why there are none (`unusable`).
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import l1_loss

from ptycho_torch import __version__
from ptycho_torch.config.evaluation import DiagnosticsSettings
from ptycho_torch.config.plan import UntrainedNetwork
from ptycho_torch.diagnose.activations import monitor_activations
from ptycho_torch.diagnose.gradients import probe_gradients
from ptycho_torch.diagnose.loss_units import check_dataset, check_losses
from ptycho_torch.diagnose.subject import (
    Sample,
    Subject,
    bundle_subject,
    kind_of,
    read_sample,
    untrained_subject,
)
from ptycho_torch.files import io
from ptycho_torch.networks import BLOCKS
from ptycho_torch.networks.bundle import WEIGHTS, read_bundle
from ptycho_torch.networks.spectral import SpectralConv
from ptycho_torch.runtime.jobs import usable_threads
from ptycho_torch.runtime.streams import named_seed

logger = logging.getLogger(__name__)

Entry = dict[str, Any]


def gradient_entry(subject: Subject, settings: DiagnosticsSettings) -> Entry:
    """Return a network's entry in `gradient_report.json`."""
    probe = probe_gradients(
        subject.network, subject.training_loss, min_ratio=settings.min_gradient_ratio
    )
    return {"network": subject.label, "unusable": None, "loss_name": subject.loss, **probe}


def activation_entry(
    subject: Subject, settings: DiagnosticsSettings, device: torch.device | None = None
) -> Entry:
    """Return a network's entry in `activation_report.json`."""
    network, seen_BCHW = subject.network.to(device), subject.input_BCHW.to(device)
    numbers = monitor_activations(network, seen_BCHW, settings)
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


def diagnose(
    subjects: Callable[[Sample], Iterable[Subject | Entry]],
    *,
    train: io.PathLike,
    dataset: io.PathLike,
    settings: DiagnosticsSettings,
    outputs: Mapping[str, io.PathLike],
    threads: int,
) -> None:
    """Write the reports of networks on one dataset; only numbers are kept of each.

    subjects: `untrained_subjects` or `trained_subjects`, of the sample that they see; train,
    dataset: training split, and `dataset.json`, whose checksum it must have; outputs: paths of
    `gradients`, `activations` and, if the loss's units are to be checked, `units`. `InputError` if
    a file is damaged, or a network cannot be built for its patches; weights that are not finite
    are a result: an entry without numbers.
    """
    torch.set_num_threads(usable_threads(threads))
    facts = io.read_json(dataset)
    patch_px, photons = facts["patch_px"], facts["settings"].get("photons")
    sample = read_sample(
        train, patch_px=patch_px, groups=settings.groups, seed=settings.groups_seed,
        sha256=facts["splits"]["train"]["sha256"], photons=1e9 if photons is None else photons,
    )  # fmt: skip
    gradients, activations = [], []
    for subject in subjects(sample):
        if isinstance(subject, Subject):
            gradients.append(gradient_entry(subject, settings))
            activations.append(activation_entry(subject, settings))
        else:
            gradients.append(subject)
            activations.append(subject)
        logger.info("diagnosed %s", gradients[-1]["network"])
    head = report_head(sample, settings, facts["dataset"])
    io.write_json(outputs["gradients"], {**head, "networks": gradients})
    io.write_json(outputs["activations"], {**head, "networks": activations})
    if "units" in outputs:
        tolerance = settings.photon_tolerance
        checks = check_dataset(train, patch_px=patch_px, photons=photons, tolerance=tolerance)
        units = {"dataset": facts["dataset"], "losses": check_losses(), "dataset_checks": checks}
        io.write_json(outputs["units"], units)


def untrained_subjects(
    networks: Mapping[str, UntrainedNetwork], sample: Sample, settings: DiagnosticsSettings
) -> Iterator[Subject]:
    """Yield each network at each seed."""
    for name, network in networks.items():
        for seed in settings.seed_list:
            yield untrained_subject(network, seed, sample, name=name)


def trained_subjects(runs: Sequence[io.PathLike], sample: Sample) -> Iterator[Subject | Entry]:
    """Yield the best weights of runs and, of those that failed, the last; an entry where they
    hold NaN. The bundle and the last weights lie beside each `run.json`."""
    for path in map(Path, runs):
        run, folder = io.read_json(path), path.parent / "bundle"
        label = {"seed": run["seed"], "outcome": run["outcome"], "name": run["arm"]}
        where = {"best": folder / WEIGHTS, "last": path.parent / "last.safetensors"}
        for state in ("best",) if run["outcome"] == "completed" else ("best", "last"):
            # Before the bundle, which refuses what is not finite without saying that it is data.
            weights = io.read_tensors(where[state])
            bad = sorted(name for name, w in weights.items() if not torch.isfinite(w).all())
            if bad:
                reason = f"{len(bad)} tensors hold NaN or infinity, the first is {bad[0]}"
                label |= kind_of(run["settings"]["generator"])
                yield {"network": {**label, "state": state}, "unusable": reason}
                break
            bundle = read_bundle(folder)
            if state == "last":
                bundle = replace(bundle, weights=weights)
            yield bundle_subject(bundle, sample, None, where=folder, **label, state=state)


def redraw(network: nn.Module, seed: int) -> None:
    """Draw all spectral weights again as the published code does: U[0, 1) / (in * out), both parts.

    Their mean squared modulus is 2 / (3 in^2 out^2); the variance-preserving one is 1 / in. Li et
    al. (2021), Fourier neural operator, arXiv:2010.08895, and its code.
    """
    stream = torch.Generator().manual_seed(named_seed(seed, "1/(in*out)"))
    for module in network.modules():
        if isinstance(module, SpectralConv):
            _, _, inputs, _, outputs = module.weight.shape
            drawn = torch.rand(module.weight.shape, generator=stream) / (inputs * outputs)
            with torch.no_grad():
                module.weight.copy_(drawn)


def probe_block(
    kind: str, *, channels: int, modes: int, patch_px: int, seed: int,
    settings: DiagnosticsSettings,
) -> dict[str, Any]:  # fmt: skip
    """Return the gradient probe of one block, with both initial distributions side by side.

    Input and target are white noise of variance 1, the loss is the mean absolute difference. Noise
    has no dominant low frequency, as real data have: numbers of a network on data differ.

    Returned is `probe_gradients` of the block as it is built, with its
    `spectral_local_output_ratio`, and `initialisations`: the same for each.
    """
    stream = torch.Generator().manual_seed(named_seed(seed, "block probe"))
    x, target = (torch.randn(8, channels, patch_px, patch_px, generator=stream) for _ in range(2))
    probes = {}
    for initialisation in ("1/in", "1/(in*out)"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            block = BLOCKS[kind](
                channels, modes, size_px=(patch_px, patch_px), two_sided=False,
                generator=torch.Generator().manual_seed(seed),
            )  # fmt: skip
        if initialisation == "1/(in*out)":
            redraw(block, seed)
        probe = probe_gradients(
            block, lambda net=block: l1_loss(net(x), target),  # type: ignore[misc]
            min_ratio=settings.min_gradient_ratio,
        )  # fmt: skip
        outputs = monitor_activations(block, x, settings)["spectral_local_output_ratio"]
        probes[initialisation] = {**probe, "spectral_local_output_ratio": outputs}
    return {**probes["1/in"], "initialisations": probes}
