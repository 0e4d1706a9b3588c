"""What a summary says, worked out; the sections only put it into words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ptycho_torch.config.plan import StagePlan
from ptycho_torch.config.study import Study
from ptycho_torch.report.summarise.collect import Collected
from ptycho_torch.statistics.compare import Comparison
from ptycho_torch.statistics.estimates import SurvivalStep
from ptycho_torch.statistics.runs import failure_rate
from ptycho_torch.statistics.scores import RECONSTRUCTION_SCORES, Score
from ptycho_torch.statistics.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Everything that the summary says, worked out."""

    stage: StagePlan
    """Arms, control and seeds."""

    winner: str | None
    """Winner of Stage A, where the stage depends on it."""

    study: Study
    """The study."""

    collected: Collected
    """The runs."""

    loss: Score
    """The loss that arms are compared by."""

    comparisons: Sequence[Comparison]
    """Paired differences to the control."""

    failure_tests: Sequence[Comparison]
    """Failure rates against the control's."""

    verdicts: Mapping[str, Sequence[Verdict]]
    """Per arm that is judged, a verdict per condition."""

    curves: Mapping[str, Sequence[SurvivalStep]]
    """Kaplan-Meier curve of each arm."""

    provenance: Mapping[str, Any]
    """Commit, command, versions and platform."""

    @property
    def name(self) -> str:
        """Name of the stage, such as `stage_a`."""
        return self.stage.name

    @property
    def runs(self) -> pd.DataFrame:
        """The table of runs."""
        return self.collected.runs

    @property
    def confidence(self) -> float:
        """Level of every interval."""
        return self.study.statistics.confidence

    @property
    def main_scores(self) -> tuple[Score, ...]:
        """The loss and the scores that are compared."""
        return (self.loss, *RECONSTRUCTION_SCORES)


def why_missing(findings: Findings, arm: str, score: Score) -> str:
    """Return why no successful run of an arm has a score."""
    if score.name in findings.collected.undefined:
        return findings.collected.undefined[score.name]
    rate = failure_rate(findings.runs, arm, findings.confidence)
    return "no run succeeded" if rate.failures == rate.runs else "no successful run has it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What only one stage has to say, beyond tables and comparisons."""

    sentences: tuple[str, ...] = ()
    """First lines of the summary."""

    section: str = ""
    """Markdown with its own heading; empty: none."""
