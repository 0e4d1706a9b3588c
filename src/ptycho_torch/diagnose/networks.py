"""Diagnose networks: untrained ones over seeds, trained runs from their bundles, one block alone;
and whether the losses in force, and a dataset's scale, have the units that they claim.

A network's entry in a report says what it is (`network`), then its numbers
(docs/reference/files.md), or why there are none (`unusable`).
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import l1_loss

from ptycho_torch import __version__
from ptycho_torch.config.evaluation import DiagnosticsSettings
from ptycho_torch.config.plan import UntrainedNetwork
from ptycho_torch.data.batch import SplitScales
from ptycho_torch.diagnose.probes import monitor_activations, probe_gradients
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
    """Return what a report says before its numbers."""
    thresholds = {"min_gradient_ratio", "min_output_ratio", "max_p99_over_p50", "max_dc_share"}
    return {
        "ptycho_torch": __version__,
        "dataset": dataset,
        "data": None if sample is None else sample.facts,
        "thresholds": settings.model_dump(include=thresholds),
    }


def diagnose(
    *,
    networks: Mapping[str, UntrainedNetwork] | None = None,
    runs: Sequence[io.PathLike] = (),
    train: io.PathLike,
    dataset: io.PathLike,
    settings: DiagnosticsSettings,
    outputs: Mapping[str, io.PathLike],
    threads: int,
) -> None:
    """Write the reports of untrained networks at every seed, or of trained runs, on one dataset.

    networks: by name; runs: each `run.json`; train, dataset: training split, and `dataset.json`,
    whose checksum it must have; outputs: paths of `gradients`, `activations` and, if the loss's
    units are to be checked, `units`. `InputError` if a file is damaged, or a network cannot be
    built for its patches; weights that are not finite are a result: an entry without numbers.
    """
    torch.set_num_threads(usable_threads(threads))
    facts = io.read_json(dataset)
    photons = facts["settings"].get("photons")
    sample = read_sample(
        train, patch_px=facts["patch_px"], groups=settings.groups,
        sha256=facts["splits"]["train"]["sha256"], photons=photons or 1e9,
    )  # fmt: skip
    untrained = (
        untrained_subject(network, seed, sample, name=name)
        for name, network in (networks or {}).items()
        for seed in settings.seeds
    )
    gradients, activations = [], []
    # One after the other: only numbers are kept of each.
    for subject in chain(untrained, _trained_subjects(runs, sample)):
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
        checks = check_units(sample, photons, settings.photon_tolerance)
        io.write_json(outputs["units"], {"dataset": facts["dataset"], "checks": checks})


def _trained_subjects(runs: Sequence[io.PathLike], sample: Sample) -> Iterator[Subject | Entry]:
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


def probe_block(
    kind: str, *, channels: int, modes: int, patch_px: int, seed: int,
    settings: DiagnosticsSettings,
) -> dict[str, Any]:  # fmt: skip
    """Return the gradient probe of one block, with both initial distributions side by side.

    Input and target are white noise of variance 1, the loss is the mean absolute difference.

    Returned is `probe_gradients` of the block as it is built, with its
    `spectral_local_output_ratio`, and `initialisations`: the same for each, `1/in` (the mean
    squared modulus in force) and `1/(in*out)`, U[0, 1) / (in * out) in both parts, as the code of
    Li et al. (2021), Fourier neural operator, arXiv:2010.08895, has it.
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
            weight = block.spectral.weight
            drawn = torch.Generator().manual_seed(named_seed(seed, initialisation))
            _, _, inputs, _, outputs = weight.shape
            weight.data = torch.rand(weight.shape, generator=drawn) / (inputs * outputs)
        probe = probe_gradients(
            block, lambda net=block: l1_loss(net(x), target),  # type: ignore[misc]
            min_ratio=settings.min_gradient_ratio,
        )  # fmt: skip
        key = "spectral_local_output_ratio"
        probes[initialisation] = {**probe, key: monitor_activations(block, x, settings)[key]}
    return {**probes["1/in"], "initialisations": probes}


def check_units(sample: Sample, photons: float | None, tolerance: float) -> list[dict[str, Any]]:
    """Return the checks of the losses as training takes them, and of the photons of the sample's
    whole split by Parseval: `check`, `expected`, `found`, `passed`.

    By hand: of predicted amplitude 2 and observed 3, the Poisson loss must see rate 4 and
    observation 9, and the MAE must be 1. photons: mean of a pattern that were requested; None: not
    known, not checked; tolerance: relative difference beside five deviations of photon noise.
    """
    pair = torch.full((2, 1, 1, 1), 2.0), torch.full((2, 1, 1, 1), 3.0)
    scales = SplitScales(intensity_scale=1.0, mean_amplitude=1.0, mean_counts=1.0)
    mae, poisson = float(scales.loss("mae", *pair)), float(scales.loss("poisson", *pair))
    by_hand = 4 - 9 * math.log(4) + math.lgamma(10)  # 4 - 9 ln 4 + ln 9!
    checks = [
        _check("MAE of predicted 2, observed 3", 1.0, mae),
        _check("Poisson loss of predicted 2, observed 3: rate 4, observation 9", by_hand, poisson),
    ]
    if photons is not None:
        _, channels, *shape = sample.batch.amplitude_BCHW.shape
        patterns = sample.facts["groups_in_file"] * channels
        seen = sample.scales.mean_counts * math.prod(shape)
        allowed = tolerance + 5 / math.sqrt(photons * patterns)
        checks.append(_check("mean photons of a pattern, sum of (s A)^2", photons, seen, allowed))
    return checks


def _check(check: str, expected: float, value: float, allowed: float = 1e-4) -> dict[str, Any]:
    # `allowed` is relative.
    return {
        "check": check,
        "expected": f"{expected:.6g} within {100 * allowed:.2g} %",
        "found": f"{value:.6g}",
        "passed": abs(value / expected - 1) <= allowed,
    }
