"""How gradients are clipped; one class a rule, so that no number means two things."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ptycho_torch.config.base import Positive, Settings


class NoClip(Settings):
    """Leave gradients as they are."""

    gradient_clip_algorithm: Literal["none"]
    """The rule's name."""

    @model_validator(mode="before")
    @classmethod
    def _has_no_bound(cls, data: Any) -> Any:
        bounds = (
            [k for k in data if k != "gradient_clip_algorithm"] if isinstance(data, dict) else []
        )
        if bounds:
            raise ValueError(
                f"there is no clipping to have a {bounds[0]}; name the rule beside it: "
                "gradient_clip_algorithm: norm, value or agc"
            )
        return data


class NormClip(Settings):
    """Scale all gradients down together when their global norm is too large."""

    gradient_clip_algorithm: Literal["norm"]
    """The rule's name."""

    max_norm: Positive
    """Largest 2-norm of all gradients taken as one vector; loss per unit weight, > 0."""


class ValueClip(Settings):
    """Cut each gradient element at a bound."""

    gradient_clip_algorithm: Literal["value"]
    """The rule's name."""

    max_value: Positive
    """Largest modulus of one real gradient element; loss per unit weight, > 0."""


class AdaptiveClip(Settings):
    """Keep each unit's gradient below a fraction of its weight (AGC).

    Brock et al. (2021), arXiv:2102.06171, section 4.
    """

    gradient_clip_algorithm: Literal["agc"]
    """The rule's name."""

    max_ratio: Positive
    """Largest ||gradient|| / ||weight|| of one unit (output channel); dimensionless, > 0."""

    min_weight_norm: Positive = 1e-3
    """Floor on ||weight||, so that a unit that starts at zero can still learn; > 0."""


Clip = Annotated[
    NoClip | NormClip | ValueClip | AdaptiveClip,
    Field(discriminator="gradient_clip_algorithm"),
]
