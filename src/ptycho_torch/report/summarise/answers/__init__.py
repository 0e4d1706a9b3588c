"""What each stage answers: the sentences and tables that only that stage has."""

from ptycho_torch.report.summarise.answers.depth import pivot_answer, stage_b_answer
from ptycho_torch.report.summarise.answers.sweep import sweep_answer
from ptycho_torch.report.summarise.findings import Answer, Findings

__all__ = ["Answer", "answer"]


def answer(findings: Findings) -> Answer:
    """Return a stage's own answer; Stage A's is its comparisons and verdicts."""
    if findings.name == "stage_a":
        return Answer()
    if findings.name == "stage_b":
        return stage_b_answer(findings)
    if findings.name == "pivot":
        return pivot_answer(findings)
    return sweep_answer(findings)
