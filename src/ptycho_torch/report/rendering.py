"""Documents from `templates/`: the templates hold the sentences, Python computes the values.

Text of the user passes the filter `md`; HTML templates escape everything by themselves.
"""

import math
import re
from typing import Any

import yaml

from ptycho_torch.config.study import arm_settings, derive
from ptycho_torch.runtime import markdown, templates
from ptycho_torch.statistics.scores import AMPLITUDE_SSIM, LOSS, MAIN_SCORES, PHASE_SSIM


def render(template: str, **values: Any) -> str:
    """Return a document made by a template of `templates/`, without needless blanks and lines."""
    text = _ENVIRONMENT.get_template(template).render(**values)
    text = re.sub(r" +$", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def sentences(template: str, **values: Any) -> list[str]:
    """Return the items of the list ("- ...") that a template makes, each on one line."""
    text = _ENVIRONMENT.get_template(template).render(**values)
    return [one_line(item) for item in re.split(r"^- ", text, flags=re.MULTILINE)[1:]]


def say(macro: str, *values: Any) -> str:
    """Return the sentence that a macro of `words.md.j2` makes."""
    module = _ENVIRONMENT.get_template("words.md.j2").module
    return one_line(str(getattr(module, macro)(*values)))


def one_line(text: str) -> str:
    """Return text without line breaks, and without blanks before punctuation."""
    return re.sub(r" (?=[,;:.)])|(?<=\() ", "", " ".join(text.split()))


def setting(value: object) -> str:
    """Return a setting, or a block of them, as YAML has it on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=math.inf)
    return markdown.md(text.removesuffix("...\n"))


def sentence(text: str) -> str:
    """Return a clause as a sentence: a capital first, one full stop last."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


_ENVIRONMENT = templates.environment("report")
_OWN = (markdown.interval_text, markdown.spread_text, one_line, setting, sentence)
_ENVIRONMENT.filters |= {"exp": math.exp, **{function.__name__: function for function in _OWN}}
_SCORES = {"LOSS": LOSS, "MAIN_SCORES": MAIN_SCORES, "SSIM": AMPLITUDE_SSIM, "PHASE": PHASE_SSIM}
_ENVIRONMENT.globals |= {"arm_settings": arm_settings, "derive": derive, **_SCORES}
