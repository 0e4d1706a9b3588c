"""Diagnose many networks in one job: fresh ones over seeds, and trained runs from their bundles."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ptycho_torch.config.evaluation import DiagnosticsSettings
from ptycho_torch.config.plan import UntrainedNetwork
from ptycho_torch.diagnose.initialisation import redraw
from ptycho_torch.diagnose.loss_units import check_dataset, check_losses
from ptycho_torch.diagnose.report import (
    Entry,
    activation_entry,
    gradient_entry,
    input_statistics,
    report_head,
    unusable_entry,
)
from ptycho_torch.diagnose.subject import (
    Sample,
    Subject,
    bundle_subject,
    fresh_subject,
    read_sample,
    trained_loss,
)
from ptycho_torch.files import io
from ptycho_torch.files.checksums import must_match
from ptycho_torch.files.schemas import RunRecord, read_result
from ptycho_torch.networks.bundle import WEIGHTS, Bundle, read_bundle
from ptycho_torch.runtime.jobs import usable_threads

logger = logging.getLogger(__name__)

Paths = Mapping[str, io.PathLike]


def diagnose_fresh(
    networks: Mapping[str, UntrainedNetwork],
    *,
    train: io.PathLike,
    dataset: io.PathLike,
    settings: DiagnosticsSettings,
    outputs: Paths,
    threads: int,
) -> None:
    """Write the reports of fresh networks at every seed, and the checks of the loss's units.

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
    torch.set_num_threads(usable_threads(threads))
    facts = io.read_json(dataset)
    sample = _sample(train, facts, settings)
    entries = _entries(_fresh_subjects(networks, sample, settings), settings)
    _write_reports(entries, sample, settings, outputs, facts["dataset"])
    photons = facts["settings"].get("photons")
    checks = check_losses()
    data = check_dataset(
        train, patch_px=facts["patch_px"], photons=photons, tolerance=settings.photon_tolerance
    )
    io.write_json(
        outputs["units"], {"dataset": facts["dataset"], "losses": checks, "dataset_checks": data}
    )


def _fresh_subjects(
    networks: Mapping[str, UntrainedNetwork], sample: Sample, settings: DiagnosticsSettings
) -> Iterator[Subject]:
    for name, fresh in networks.items():
        for seed in settings.seed_list:
            yield fresh_subject(fresh, seed, sample, name=name, initialisation="1/in")
            if fresh.generator.name == "hybrid":
                label = {"name": name, "initialisation": "1/(in*out)"}
                before = fresh_subject(fresh, seed, sample, **label)
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
        As for `diagnose_fresh`; outputs are `gradients` and `activations`.

    Raises
    ------
    InputError
        If a file is damaged. Weights that are not finite are a result: an entry without numbers.
    """
    torch.set_num_threads(usable_threads(threads))
    facts = io.read_json(dataset)
    sample = _sample(train, facts, settings)
    states = (state for path in runs for state in _states(Path(path), sample))
    _write_reports(_entries(states, settings), sample, settings, outputs, facts["dataset"])


def _states(path: Path, sample: Sample) -> Iterator[Subject | Entry]:
    """Yield a run's best and, if it failed, last weights; an entry where they cannot be used."""
    run = read_result(path, RunRecord)
    label = {
        "name": run["arm"], "seed": run["seed"], "outcome": run["outcome"],
        "generator": run["settings"]["generator"]["name"],
        "fno_blocks": run["settings"]["generator"]["fno_blocks"],
    }  # fmt: skip
    folder = path.parent / "bundle"
    # Read before the bundle, which refuses what is not finite without saying that it is data.
    if reason := _not_finite(io.read_tensors(folder / WEIGHTS)):
        yield unusable_entry({**label, "state": "best"}, reason)
        return
    best = read_bundle(folder)
    loss = trained_loss(best, folder)
    yield bundle_subject(best, sample, loss, where=folder, **label, state="best")
    if run["outcome"] != "completed":
        must_match(path.parent / "last.safetensors", run)
        weights = io.read_tensors(path.parent / "last.safetensors")
        if reason := _not_finite(weights):
            yield unusable_entry({**label, "state": "last"}, reason)
            return
        last = Bundle(settings=best.settings, weights=weights, probe_MHW=best.probe_MHW)
        yield bundle_subject(last, sample, loss, where=path.parent, **label, state="last")


def _not_finite(tensors: Mapping[str, torch.Tensor]) -> str | None:
    bad = sorted(name for name, tensor in tensors.items() if not torch.isfinite(tensor).all())
    return f"{len(bad)} tensors hold NaN or infinity, the first is {bad[0]}" if bad else None


def _sample(train: io.PathLike, facts: dict[str, Any], settings: DiagnosticsSettings) -> Sample:
    return read_sample(
        train,
        patch_px=facts["patch_px"],
        groups=settings.groups,
        seed=settings.groups_seed,
        sha256=facts["splits"]["train"]["sha256"],
    )


def _entries(
    subjects: Iterable[Subject | Entry], settings: DiagnosticsSettings
) -> list[tuple[Entry, Entry]]:
    """Look at one network after the other; only numbers are kept of each."""
    found = []
    for subject in subjects:
        if not isinstance(subject, Subject):
            logger.warning("%s: %s", subject["network"], subject["unusable"])
            found.append((subject, subject))
            continue
        entry = gradient_entry(subject, settings), activation_entry(subject, settings)
        logger.info(
            "%s: spectral/local gradients %s, growth per block %s",
            " ".join(map(str, subject.label.values())),
            entry[0]["spectral_local_ratio"], entry[1]["growth_per_block"],
        )  # fmt: skip
        found.append(entry)
    return found


def _write_reports(
    entries: list[tuple[Entry, Entry]],
    sample: Sample,
    settings: DiagnosticsSettings,
    outputs: Paths,
    dataset: str,
) -> None:
    head = report_head(sample, settings, dataset)
    io.write_json(outputs["gradients"], {**head, "networks": [pair[0] for pair in entries]})
    transforms = input_statistics(sample, 1.0)
    io.write_json(
        outputs["activations"],
        {**head, "inputs": transforms, "networks": [pair[1] for pair in entries]},
    )
