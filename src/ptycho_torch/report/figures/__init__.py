"""Figures of the summaries: each function returns a figure, which `plot_style.save` writes."""

from collections.abc import Iterable

from ptycho_torch.config.arms import bases
from ptycho_torch.config.study import Study
from ptycho_torch.runtime.plot_style import Look, arm_looks


def looks_of(study: Study, names: Iterable[str]) -> dict[str, Look]:
    """Return how each arm or variant is drawn: the same in every figure of the study."""
    return arm_looks(bases(study, names), list(study.arms))
