"""How a scan is reconstructed without a network: rPIE, its steps, and when it stops."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from ptycho_torch.config.base import Count, Real, Seed, Settings

Regularisation = Annotated[Real, Field(gt=0, le=1)]
Step = Annotated[Real, Field(gt=0, le=2)]


class RpieSettings(Settings):
    """Regularised ptychographic iterative engine (docs/own-data.md).

    Maiden, Johnson and Li, Optica 4, 736 (2017), doi:10.1364/OPTICA.4.000736.
    """

    iterations: Count = 100
    """Iterations over all frames."""
    alpha: Regularisation = 0.1
    """Weight of the brightest illumination in the object's step: near 0 dimly lit pixels take
    large steps, 1 is ePIE; dimensionless."""
    object_step: Step = 1.0
    """Factor on the object's step; dimensionless."""
    refine_probe: bool = False
    """Refine the probe as well; false: it is known and stays as it is."""
    probe_alpha: Regularisation = 1.0
    """`alpha` of the probe's step."""
    probe_step: Step = 1.0
    """Factor on the probe's step; dimensionless."""
    probe_from_iteration: Count = 1
    """First iteration in which the probe is refined; the object needs a form before."""
    probe_scale: Literal["given", "frames"] = "given"
    """The probe's scale. `given`: its power is in the units of the frames' squared amplitude, as
    in this project's files; `frames`: it is scaled to the frames' mean power, for probes in other
    units, and the object's mean intensity under the probe comes out near 1."""
    batch_size: Annotated[Count | None, BeforeValidator(lambda n: n or None)] = 1
    """Frames that are updated together, at most: an iteration is cut into batches of nearly equal
    size. 1: one after the other, the rPIE of the paper; 0 or null: all at once, which makes the
    order of frames irrelevant."""
    seed: Seed = 0
    """Seed of the order of frames, drawn anew for each iteration."""
    stop_change: Annotated[Real, Field(ge=0, lt=1)] = 0.0
    """Stop when ten iterations lowered the error by less than this fraction; 0: never."""
    margin_px: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Free border round the windows in the object's canvas, pixels."""

    @model_validator(mode="after")
    def _must_have_effect(self) -> Self:
        fields = RpieSettings.model_fields
        if not self.refine_probe:
            for key in ("probe_alpha", "probe_step", "probe_from_iteration"):
                if getattr(self, key) != fields[key].default:
                    raise ValueError(
                        f"{key}: {getattr(self, key)} has no effect on a known probe; set "
                        "refine_probe, or leave it out"
                    )
        elif self.probe_from_iteration > self.iterations:
            raise ValueError(
                f"probe_from_iteration: {self.probe_from_iteration} comes after all "
                f"{self.iterations} iterations, so that no probe is refined; lower it, or unset "
                "refine_probe"
            )
        return self


class ConventionalSettings(RpieSettings):
    """The row of the tables that no network made: rPIE on the test split, with the known probe
    unless `refine_probe` says otherwise. It is no arm and enters no comparison.
    """

    snapshots: Annotated[list[Count], Field(min_length=1)] = [1, 2, 5, 10, 20, 50, 100]
    """Iterations after which quality is scored against the time they took; the last one always is,
    and those beyond it are left out."""
    threads: Count = 1
    """CPU threads; one frame after the other gains nothing by more."""

    @property
    def scored_iterations(self) -> list[int]:
        """Iterations to score, in order, the last one among them."""
        return sorted({n for n in self.snapshots if n < self.iterations} | {self.iterations})
