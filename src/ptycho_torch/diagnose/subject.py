"""What is diagnosed: a network, untrained or trained, and the groups of a dataset that it sees.

Letters: B groups looked at, C patches of a group, H rows, W columns, M probe modes.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ptycho_torch.config.plan import UntrainedNetwork
from ptycho_torch.config.scan import GroupSettings
from ptycho_torch.data.batch import (
    LOSSES,
    Batch,
    LossName,
    SplitScales,
    groups_of_scan,
    groups_of_split,
    scan_groups,
)
from ptycho_torch.data.dataset_file import read_split
from ptycho_torch.data.read import is_split, read_scan
from ptycho_torch.data.scan import check_array
from ptycho_torch.data.units import measured_units, probe_of
from ptycho_torch.files import io
from ptycho_torch.networks import build_generator
from ptycho_torch.networks.bundle import Bundle
from ptycho_torch.physics.views import group_amplitudes
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.streams import named_seed, named_stream

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Groups of one split, the same for every network; of the whole split what losses relate to,
    and what `input_scaling: statistical` multiplies amplitudes by; facts: which data, for reports.
    """

    batch: Batch
    probe_MHW: Tensor | None
    scales: SplitScales
    statistical_scale: float
    facts: dict[str, Any]


def read_sample(
    path: io.PathLike,
    *,
    patch_px: int | None,
    groups: int,
    channels: int = 1,
    sha256: str | None = None,
    photons: float = 1e9,
) -> Sample:
    """Read a file and draw the groups to look at, without repeats; raises as its reader.

    path: a split of the study, any scan (docs/own-data.md), or NPZ with `diffraction` alone, which
    has no probe; patch_px: side that patches must have, None: any; groups: how many, or all where
    the file has fewer; channels: patches of a group, for files that are no split; photons: mean
    photons of a frame, where the file does not say.
    """
    probe, scale = None, 1.0
    if not is_split(path):
        scan = read_scan(path)
        probe = probe_of(scan)
        unit = measured_units(scan, probe, photons)
        grouping = GroupSettings(gridsize=math.isqrt(channels))
        members = scan_groups(scan, np.arange(len(scan)), grouping, seed=0)
        every, scale = groups_of_scan(scan, members, unit.unit), unit.intensity_scale
    elif "probeGuess" in io.npz_keys(path):
        split = read_split(path, patch_px=patch_px, sha256=sha256, photons=photons)
        every, probe, scale = groups_of_split(split), split.probe_MHW, split.intensity_scale
    else:
        every = _patterns_alone(path)
    side = every.amplitude_BCHW.shape[-1]
    if patch_px not in (None, side):
        raise InputError(f"{path}: patches are {side} px, the network takes {patch_px} px")
    if len(every) < groups:
        logger.warning("%s: has %d groups, fewer than %d: all are used", path, len(every), groups)
    order = named_stream(0, "diagnosed groups").permutation(len(every))[:groups]
    return Sample(
        batch=every.take(torch.from_numpy(order)),
        probe_MHW=None if probe is None else torch.from_numpy(probe.copy()),
        scales=every.scales(scale),
        statistical_scale=every.statistical_scale(),
        facts={
            "file": Path(path).name,
            "sha256": io.sha256(path),
            "groups": len(order),
            "groups_in_file": len(every),
        },
    )


def _patterns_alone(path: io.PathLike) -> Batch:
    """Return patterns as groups; of counts, which are integers, the root is taken."""
    frames = io.read_npz(path, "diffraction")["diffraction"]
    stack = frames[:, None] if frames.ndim == 3 else np.moveaxis(frames, -1, 1)
    check_array(str(path), "diffraction", stack, "real", ("n", "C", "N", "N"))
    counts = stack.dtype.kind in "iu"
    stack = stack.astype(np.float32)
    if not np.isfinite(stack).all() or (stack < 0).any() or not stack.any():
        raise InputError(f"{path}: 'diffraction' must be finite and >= 0, and not zero everywhere")
    return Batch(torch.from_numpy(np.ascontiguousarray(np.sqrt(stack) if counts else stack)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A network before a sample of data.

    network: amplitudes (B, C, H, W) in, complex patches of the same shape out; input_scale: what
    amplitudes are multiplied by before it; object_big: whether the patches of a group become one
    region before the physics; unit: the network's intensity scale over the data's, another than 1
    where it was learned; loss: that it is, or would be, trained with; label: for reports.
    """

    network: nn.Module
    sample: Sample
    input_scale: float
    object_big: bool
    unit: float = 1.0
    loss: LossName
    label: dict[str, Any]

    @property
    def input_BCHW(self) -> Tensor:
        """What enters the network."""
        return self.sample.batch.amplitude_BCHW * (self.input_scale / self.unit)

    def training_loss(self) -> Tensor:
        """Return the loss of the sample as training takes it: network, forward model, loss."""
        patches, batch = self.network(self.input_BCHW), self.sample.batch
        probe = self.sample.probe_MHW
        if probe is None:
            raise InputError(f"{self.sample.facts['file']}: has no probe, which the loss needs")
        whole = batch.whole_BC2 if self.object_big else None
        predicted = group_amplitudes(patches, probe, whole, batch.fraction_BC2)
        observed, good = batch.amplitude_BCHW, batch.good_BCHW
        return self.sample.scales.loss(self.loss, predicted * self.unit, observed, good)


def kind_of(generator: Mapping[str, Any]) -> dict[str, Any]:
    """Return what reports call a network of these settings."""
    return {"generator": generator["name"], "fno_blocks": generator["fno_blocks"]}


def untrained_subject(
    settings: UntrainedNetwork, seed: int, sample: Sample, **label: Any
) -> Subject:
    """Return a network before its first step, as the run of this seed starts; `InputError` if it
    cannot be built for the data's patches."""
    generator = settings.generator
    _, channels, _, patch_px = sample.batch.amplitude_BCHW.shape
    weights = named_seed(seed, "weights")
    try:
        network = build_generator(generator, channels=channels, patch_px=patch_px, seed=weights)
    except ValueError as error:
        raise InputError(f"generator {generator.name}: {error}") from None
    statistical = settings.input_scaling == "statistical"
    return Subject(
        network=network,
        sample=sample,
        input_scale=sample.statistical_scale if statistical else 1.0,
        object_big=settings.object_big,
        loss=settings.loss,
        label={**label, "seed": seed, "state": "fresh", **kind_of(generator.model_dump())},
    )


def bundle_subject(
    bundle: Bundle, sample: Sample, loss: LossName | None, *, where: io.PathLike, **label: Any
) -> Subject:
    """Return a trained network; its own input scale is in force, the data's probe and scales.

    loss: None: the one that its record says it was trained with. `InputError` if its groups have
    another number of patches, or there is no loss.
    """
    loss = loss or bundle.record.get("run", {}).get("training", {}).get("loss")
    if loss not in LOSSES:
        raise InputError(
            f"{where}: its record does not say which loss trained it; give --loss mae or --loss "
            "poisson"
        )
    settings, channels = bundle.settings, sample.batch.amplitude_BCHW.shape[1]
    if settings.channels != channels:
        raise InputError(
            f"{where}: the network takes groups of {settings.channels} patches, the data has "
            f"{channels}; take data of the same gridsize"
        )
    if sample.probe_MHW is not None and not torch.equal(bundle.probe_MHW, sample.probe_MHW):
        logger.warning("%s: was trained with another probe than the data's, which is used", where)
    return Subject(
        network=bundle.network(),
        sample=sample,
        input_scale=settings.input_scale,
        object_big=settings.object_big,
        unit=settings.intensity_scale / sample.scales.intensity_scale,
        loss=loss,
        label={**label, **kind_of(settings.generator.model_dump())},
    )
