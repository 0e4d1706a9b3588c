"""The summary in Markdown: every sentence is made from the data; none names a winner by hand."""

from ptycho_torch.report.summarise.findings import Answer, Findings
from ptycho_torch.report.summarise.published import published_section
from ptycho_torch.report.summarise.report import details, notes, opening, results, speed


def report(findings: Findings, answer: Answer) -> str:
    """Return the whole summary, as GitHub renders it.

    Parameters
    ----------
    findings
        What the sections put into words.
    answer
        What only this stage has to say.
    """
    sections = (
        opening.opening(findings),
        opening.in_short(findings, answer),
        answer.section,
        results.results(findings),
        results.differences(findings),
        results.verdicts(findings),
        speed.time_to_quality(findings),
        details.failures(findings),
        details.figures(findings),
        details.gradients(findings),
        details.phase(findings),
        published_section() if findings.name == "stage_a" else "",
        notes.limits(findings),
        notes.how_made(findings),
    )
    return "\n\n".join(section.strip() for section in sections if section) + "\n"
