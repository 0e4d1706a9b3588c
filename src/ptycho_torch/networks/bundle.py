"""A trained network with everything inference needs: a folder of two files, nothing to execute.

    bundle.json            network, scales, where they come from, the run, checksums
    weights.safetensors    weights and probe

Letters: B batch, C patches of a group, M probe modes, H rows, W columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError, model_validator
from torch import Tensor, nn

from ptycho_torch import __version__
from ptycho_torch.config.base import Count, Name, NotNegative, Positive, Settings, mistake
from ptycho_torch.config.generator import GeneratorSettings, plan_levels
from ptycho_torch.files import io
from ptycho_torch.networks import build_generator
from ptycho_torch.runtime.errors import InputError

FORMAT = "ptycho-torch bundle 2"
WEIGHTS, FACTS = "weights.safetensors", "bundle.json"
_PROBE = "probe_MHW2"


class BundleSettings(Settings):
    """What inference must know beside the weights."""

    generator: GeneratorSettings
    """The network."""
    patch_px: Count
    """Side of a patch, pixels."""
    channels: Count
    """C, patches of a group."""
    gridsize: Count
    """Patches along each side of a group."""
    object_big: bool
    """Whether a group's patches are merged into one region."""
    input_scale: Positive
    """What amplitudes are multiplied by before the network."""
    norm_Y_I: Positive
    """Object amplitude = network's amplitude times this."""
    intensity_scale: Positive
    """s: (s A)^2 are photons; amplitudes enter the network in these units."""
    intensity_scale_source: Literal["learned", "measured", "given"]
    """Trained with the weights, measured on the training data, or of the photons given."""
    mean_amplitude: NotNegative
    """Of the training data, in the units that enter the network."""
    dataset: Name
    """Name of the training data."""

    @model_validator(mode="after")
    def _belong_together(self) -> "BundleSettings":
        if self.channels != self.gridsize**2:
            raise ValueError(
                f"channels of {self.channels} are no groups of gridsize {self.gridsize}"
            )
        try:
            plan_levels(self.generator, self.patch_px)
        except ValueError as error:
            raise ValueError(f"generator: {error}") from None
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A trained network and its surroundings.

    settings: for inference; weights: of the network, by name; probe_MHW: complex64; record: what
    else is worth keeping of the training (JSON), not needed for inference.
    """

    settings: BundleSettings
    weights: dict[str, Tensor]
    probe_MHW: Tensor
    record: dict[str, Any] = field(default_factory=dict)

    def network(self) -> nn.Module:
        """Return the network with its weights, ready for inference.

        Raises
        ------
        InputError
            If a tensor is missing, unknown, of a wrong shape or type, or not finite; by name.
        """
        settings = self.settings
        network = build_generator(
            settings.generator, channels=settings.channels, patch_px=settings.patch_px, seed=0
        )
        _check_weights(self.weights, network.state_dict(), settings.generator.name)
        network.load_state_dict(self.weights)
        return network.eval()


def write_bundle(folder: io.PathLike, bundle: Bundle) -> None:
    """Write a bundle into `folder`; `bundle.json` goes first and comes last, so that a torn bundle
    is none."""
    folder = Path(folder)
    (folder / FACTS).unlink(missing_ok=True)
    tensors = {f"network.{name}": tensor for name, tensor in bundle.weights.items()}
    tensors[_PROBE] = torch.view_as_real(bundle.probe_MHW.contiguous()).clone()
    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    io.write_tensors(folder / WEIGHTS, tensors)
    facts = {
        "format": FORMAT,
        "ptycho_torch": __version__,
        "settings": bundle.settings.model_dump(mode="json"),
        "weights_sha256": io.sha256(folder / WEIGHTS),
        "record": bundle.record,
    }
    io.write_json(folder / FACTS, facts)


def read_bundle(folder: io.PathLike) -> Bundle:
    """Read a bundle; nothing in it is executed.

    Raises
    ------
    InputError
        If a file is missing, changed, foreign or torn, or settings and tensors do not belong
        together; names the file and the part. Nothing is replaced by a default.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder; a bundle is one, of {FACTS} and {WEIGHTS}")
    facts = _read_facts(folder / FACTS)
    path = folder / WEIGHTS
    if (found := io.sha256(path)) != facts["weights_sha256"]:
        raise InputError(
            f"{path}: SHA-256 is {found}, {FACTS} says {facts['weights_sha256']}; the weights were "
            "changed or belong to another bundle: copy the whole folder again"
        )
    tensors = io.read_tensors(path)
    try:
        settings = BundleSettings.model_validate(facts["settings"])
    except ValidationError as error:
        raise mistake(f"{folder / FACTS}: settings", error) from None
    probe = _checked_probe(tensors, settings.patch_px, path)
    weights = {key.removeprefix("network."): value for key, value in tensors.items()}
    bundle = Bundle(settings=settings, weights=weights, probe_MHW=probe, record=facts["record"])
    try:
        bundle.network()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return bundle


def _checked_probe(tensors: dict[str, Tensor], side: int, path: Path) -> Tensor:
    """Take the probe out of the tensors, (M, H, W), complex64."""
    if _PROBE not in tensors:
        raise InputError(f"{path}: has no tensor '{_PROBE}', the probe")
    probe = tensors.pop(_PROBE)
    if probe.dtype != torch.float32 or probe.shape[1:] != (side, side, 2) or len(probe) == 0:
        raise InputError(
            f"{path}: '{_PROBE}' is {tuple(probe.shape)} {probe.dtype}, expected "
            f"(M, {side}, {side}, 2) {torch.float32}"
        )
    if not (torch.isfinite(probe).all() and probe.any()):
        raise InputError(f"{path}: '{_PROBE}' holds NaN or infinity, or is zero everywhere")
    return torch.view_as_complex(probe.contiguous())


def _read_facts(path: Path) -> dict[str, Any]:
    facts = io.read_json(path)
    if facts.get("format") != FORMAT:
        raise InputError(
            f"{path}: format is {facts.get('format')!r}, expected {FORMAT!r}; it is no bundle, or "
            "one of another version, whose network may be another: train it again with this one"
        )
    for key in ("settings", "weights_sha256", "record"):
        if key not in facts:
            raise InputError(f"{path}: lacks '{key}'; copy the bundle again")
    return facts


def _check_weights(found: Mapping[str, Tensor], needed: Mapping[str, Tensor], name: str) -> None:
    missing, unknown = sorted(needed.keys() - found.keys()), sorted(found.keys() - needed.keys())
    if missing or unknown:
        what = [f"lacks {missing[:3]}"] if missing else []
        what += [f"has unknown {unknown[:3]}"] if unknown else []
        raise InputError(f"is not the network '{name}' of bundle.json: it {' and '.join(what)}")
    for key, tensor in needed.items():
        got = found[key]
        if got.shape != tensor.shape or got.dtype != tensor.dtype:
            raise InputError(
                f"'{key}' is {tuple(got.shape)} {got.dtype}, the network '{name}' needs "
                f"{tuple(tensor.shape)} {tensor.dtype}"
            )
        if not torch.isfinite(got).all():
            raise InputError(f"'{key}' holds NaN or infinity")
