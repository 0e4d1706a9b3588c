"""Documents from `templates/`: the templates hold the sentences, Python computes the values.

In a Markdown template a line that is indented by two spaces or more continues the line above.
Text of the user passes the filter `md`; HTML templates escape everything by themselves.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup, escape

from ptycho_torch.config.arms import arm_settings
from ptycho_torch.config.evaluation import StatisticsSettings
from ptycho_torch.runtime import markdown, templates
from ptycho_torch.statistics import estimates
from ptycho_torch.statistics.compare import Comparison
from ptycho_torch.statistics.estimates import Spread

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> str:
    """Return a Markdown document made by a template of `templates/`."""
    text = _ENVIRONMENT.get_template(template).render(**values)
    text = re.sub(r" +$", "", _unwrapped(text), flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def render_html(template: str, **values: Any) -> str:
    """Return a page made by an HTML template of `templates/`, with every value escaped."""
    return _ENVIRONMENT.get_template(template).render(**values)


def sentences(template: str, macro: str, *values: Any) -> list[str]:
    """Return the items of the list ("- ...") that a macro of a template makes."""
    module = _ENVIRONMENT.get_template(template).module
    text = _unwrapped(str(getattr(module, macro)(*values)))
    lines = (" ".join(line.removeprefix("- ").split()) for line in text.splitlines())
    return [line for line in lines if line]


def say(macro: str, *values: Any) -> str:
    """Return the sentence that a macro of `words.md.j2` makes."""
    module = _ENVIRONMENT.get_template("words.md.j2").module
    return " ".join(str(getattr(module, macro)(*values)).split())


def md(text: object) -> str:
    """Return text as it stands in a line or a cell of Markdown: no markup, no second line."""
    plain = " ".join(str(text).split())
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def prose(text: str) -> Markup:
    """Return a sentence as HTML: markup in it is text, and `names` in backticks are set as code.

    The same sentences go into the Markdown summaries, where backticks mean this.
    """
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def setting_text(value: object) -> str:
    """Return the value of a setting as YAML has it: none, true, 0.05."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return markdown.plain(value) if isinstance(value, float) else md(value)


def leader(medians: Mapping[str, Spread]) -> str:
    """Return the arm of the lowest median, ties by name."""
    return min((v.median, arm) for arm, v in medians.items() if v.median is not None)[1]


def grouped_by_reason(
    tests: Sequence[Comparison], settings: StatisticsSettings
) -> dict[str, list[str]]:
    """Return reason -> arms that an arm is not told apart from for it."""
    groups: dict[str, list[str]] = {}
    for item in tests:
        groups.setdefault(say("why", item, settings), []).append(item.other)
    return groups


def plainly(value: object) -> str:
    """Return a setting that may hold others, on one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plainly(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(plainly(inner) for inner in value) or "none"
    return setting_text(value)


def _sentence(text: str) -> str:
    """Return a clause as a sentence: a capital first, one full stop last."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _unwrapped(text: str) -> str:
    return re.sub(r"\n {2,}(?=\S)", " ", text)


def _codes(names: Iterable[str]) -> list[str]:
    return [f"`{name}`" for name in names]


def _environment() -> Environment:
    environment = templates.environment("report")
    own = (markdown.interval_text, markdown.spread_text, setting_text, plainly, md, prose)
    environment.filters |= {function.__name__: function for function in own}
    environment.filters |= {
        "sentence": _sentence,
        "codes": _codes,
        "exp": math.exp,
        "extract": lambda key, names: names[key],
        "prefixed": lambda text, before: before + text,
    }
    environment.globals |= {
        "estimates": estimates,
        "leader": leader,
        "grouped_by_reason": grouped_by_reason,
        "arm_settings": arm_settings,
    }
    return environment


_ENVIRONMENT = _environment()
