"""Documents from Jinja templates: sentences lie in `templates`, values are computed in Python."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from ptycho_torch.runtime import markdown

_FILTERS = ("number", "signed", "percent", "p_text", "plural", "listed", "md")


@cache
def environment(room: str) -> Environment:
    """Return what loads a room's templates, with the filters of `runtime.markdown`: a value that is
    missing is an error, and what ends in `.html.j2` is escaped."""
    environment = Environment(
        loader=PackageLoader(f"ptycho_torch.{room}"),
        undefined=StrictUndefined,
        autoescape=select_autoescape(("html.j2",)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {name: getattr(markdown, name) for name in _FILTERS}
    environment.filters["plain"] = "{:g}".format  # As a setting was written: 0.05, not 0.0500.
    return environment


def render(room: str, name: str, **values: Any) -> str:
    """Return the document that `templates/NAME` of a room of the package gives for these values."""
    return environment(room).get_template(name).render(values)
