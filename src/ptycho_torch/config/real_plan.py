"""Which networks `real_data_summary` trains on a measurement, and with which settings."""

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ptycho_torch.runtime.errors import nearest

if TYPE_CHECKING:
    from ptycho_torch.config.files import FitSettings
    from ptycho_torch.config.study import Study


def labels(study: "Study") -> list[str]:
    """Return the names of the networks: an arm's, with `-grid2` behind it for groups of four."""
    real = study.real_data
    if real is None:
        return []
    return [_label(arm, size) for size in real.gridsizes for arm in real.arms]


def _label(arm: str, gridsize: int) -> str:
    return arm if gridsize == 1 else f"{arm}-grid{gridsize}"


def fit_settings(study: "Study", measurement: str, label: str, seed: int) -> "FitSettings":
    """Return everything that decides one training; only the base, this arm's blocks and those of
    `real_data` enter.

    Raises
    ------
    ValueError
        If the settings are impossible.
    """
    from ptycho_torch.config.files import FitSettings, GroupSettings
    from ptycho_torch.config.study import merge

    real = study.real_data
    assert real is not None
    arm, gridsize = next(
        (arm, size) for size in real.gridsizes for arm in real.arms if _label(arm, size) == label
    )
    blocks: dict[str, Any] = study.blocks(arm)
    return FitSettings.model_validate(
        {
            "name": measurement,
            "arm": arm,
            "seed": seed,
            "groups": GroupSettings(gridsize=gridsize),
            "validation_fraction": real.validation_fraction,
            "gap_px": real.held_out.gap_px,
            "generator": merge(blocks["generator"], real.generator, ("generator",)),
            "training": merge(blocks["training"], real.training, ("training",)),
            "execution": blocks["execution"],
        }
    )


def check_real_data(study: "Study") -> None:
    """Raise `ValueError`, naming block and key, if the block does not fit the study."""
    real = study.real_data
    if real is None:
        return
    known = list(study.arms)
    for arm in real.arms:
        if arm not in known:
            raise ValueError(f"real_data.arms: there is no arm '{arm}'{nearest(arm, known)}")
    found = labels(study)
    if len(set(found)) < len(found):
        raise ValueError(f"real_data: two networks would share a folder: {', '.join(found)}")
    for name, measurement in real.measurements.items():
        patch_px = measurement.reading.patch_px
        assert patch_px is not None
        for label in found:
            try:
                fit_settings(study, name, label, 0).run(patch_px)
            except ValidationError as error:
                from ptycho_torch.config.read import first_mistakes

                said = first_mistakes(error, {})
                raise ValueError(f"real_data: network '{label}' on '{name}': {said}") from None
