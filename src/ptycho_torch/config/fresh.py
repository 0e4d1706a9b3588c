"""Which fresh networks a study's diagnoses compare, from its settings alone."""

from typing import TYPE_CHECKING, Literal

from ptycho_torch.config.base import Settings
from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.training import TrainingSettings

if TYPE_CHECKING:
    from ptycho_torch.config.study import Study

COMPARED = ("hybrid", "stable_hybrid", "layerscale_hybrid")
"""Generators whose activations are compared with depth."""


class FreshNetwork(Settings):
    """A network before its first step, and the loss that it would be trained with."""

    generator: GeneratorSettings
    """The network."""

    loss: Literal["mae", "poisson"]
    """As in `training`."""

    input_scaling: Literal["none", "statistical"]
    """As in `training`."""

    object_big: bool = True
    """As in `training`."""


def fresh_networks(study: "Study") -> dict[str, FreshNetwork]:
    """Return the fresh networks to diagnose, by name, each set of settings once.

    First `hybrid-4` and the like, every compared generator at every depth of the block
    `diagnostics`, all else as in the block `generator`; then arms of Stage A, by their names, that
    differ from all of those.

    Raises
    ------
    ValueError
        If a generator's settings are wrong; its size is checked where it is built.
    """
    found: dict[str, FreshNetwork] = {}

    def add(name: str, generator: GeneratorSettings, training: TrainingSettings) -> None:
        network = FreshNetwork(
            generator=generator,
            loss=training.loss,
            input_scaling=training.input_scaling,
            object_big=training.object_big,
        )
        if network not in found.values():
            found[name] = network

    for depth in study.diagnostics.depths:
        for name in COMPARED:
            changes = {"name": name, "fno_blocks": depth}
            settings = GeneratorSettings.model_validate(study.generator.model_dump() | changes)
            add(f"{name}-{depth}", settings, study.training)
    for arm in study.stage_a.arms:
        run = study.run(study.stage_a.dataset, arm, seed=0)
        add(arm, run.generator, run.training)
    return found
