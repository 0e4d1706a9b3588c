"""The summary in Markdown: every sentence is made from the data; none names a winner by hand."""

from ptycho_torch.summarise.published import published_section
from ptycho_torch.summarise.report import details, notes, opening, results
from ptycho_torch.summarise.report.findings import Findings


def report(findings: Findings) -> str:
    """Return the whole summary, as GitHub renders it.

    Parameters
    ----------
    findings
        What the sections put into words.
    """
    sections = (
        opening.opening(findings),
        opening.in_short(findings),
        results.results(findings),
        results.differences(findings),
        results.verdicts(findings),
        details.failures(findings),
        details.figures(findings),
        details.gradients(findings),
        details.phase(findings),
        published_section(),
        notes.limits(findings),
        notes.how_made(findings),
    )
    return "\n\n".join(section.strip() for section in sections) + "\n"
