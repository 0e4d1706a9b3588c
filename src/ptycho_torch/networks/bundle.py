"""A trained network with everything inference needs: a folder of two files, nothing to execute.

    bundle.json            network, scales, where they come from, the run, checksums
    weights.safetensors    weights and probe

Letters: B batch, C patches of a group, M probe modes, H rows, W columns.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ptycho_torch import __version__
from ptycho_torch.config.base import Count, Gridsize, Name, Positive, Settings, placed
from ptycho_torch.config.generator import GeneratorSettings
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
    gridsize: Gridsize
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
    dataset: Name
    """Name of the training data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A trained network: what inference needs, its weights by name, the probe (complex64), and a
    record of the training (JSON), which inference does not need."""

    settings: BundleSettings
    weights: dict[str, Tensor]
    probe_MHW: Tensor
    record: dict[str, Any] = field(default_factory=dict)

    def network(self) -> nn.Module:
        """Return the network with its weights, ready for inference; `ValueError` names a tensor
        that is missing, unknown, of a wrong shape, or not finite, or a size that is impossible."""
        known = self.settings
        sizes = {"channels": known.channels, "patch_px": known.patch_px}
        network = build_generator(known.generator, seed=0, **sizes)
        try:
            network.load_state_dict(self.weights)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise InputError(f"is not the '{known.generator.name}' of {FACTS}: {reason}") from None
        if wrong := [name for name, w in self.weights.items() if not torch.isfinite(w).all()]:
            raise InputError(f"'{wrong[0]}' holds NaN or infinity")
        return network.eval()


def write_bundle(folder: io.PathLike, bundle: Bundle) -> None:
    """Write a bundle into `folder`; `bundle.json` goes first and comes last: a torn one is none."""
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
    """Read a bundle; nothing in it is executed, and nothing is replaced by a default.

    Raises `InputError` if a file is missing, changed, foreign or torn, or settings and tensors do
    not belong together; names the file and the part.
    """
    folder = Path(folder)
    path, facts = folder / WEIGHTS, io.read_json(folder / FACTS)
    if facts.get("format") != FORMAT:
        raise InputError(
            f"{folder / FACTS}: format is {facts.get('format')!r}, expected {FORMAT!r}; it is no "
            "bundle, or of another version, whose network may be another: train it again"
        )
    with placed(f"{folder / FACTS}: settings: "):
        settings = BundleSettings.model_validate(facts["settings"])
    io.must_have(path, facts["weights_sha256"])
    tensors = io.read_tensors(path)
    weights = {k.removeprefix("network."): v for k, v in tensors.items() if k != _PROBE}
    with placed(f"{path}: "):
        probe, side = tensors.get(_PROBE), settings.patch_px
        if probe is None:
            raise InputError(f"has no tensor '{_PROBE}', the probe")
        if probe.shape[1:] != (side, side, 2) or not torch.isfinite(probe).all() or not probe.any():
            raise InputError(
                f"'{_PROBE}' is {tuple(probe.shape)}, expected (M, {side}, {side}, 2), finite, and "
                "not zero everywhere"
            )
        probe = torch.view_as_complex(probe.contiguous())
        bundle = Bundle(settings=settings, weights=weights, probe_MHW=probe, record=facts["record"])
        bundle.network()
    return bundle
