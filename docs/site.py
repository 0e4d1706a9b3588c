"""Pages of the site that lie outside docs/ or are a notebook, and links that leave it (a hook of
mkdocs)."""

import json
import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
# The README is the first page; a file of the repository stands in one place.
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "config/README.md": "reference/settings.md",
    "docs/tutorial.ipynb": "tutorial.md",
}
SOURCES = {page: source for source, page in OUTSIDE.items()}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")


def on_files(files, config):
    """Add the pages that lie outside docs/, and the notebook as one."""
    for source, page in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        if source.endswith(".ipynb"):
            text = notebook_page(json.loads(text), Path(source).name)
        files.append(File.generated(config, page, content=text))
    return files


def notebook_page(notebook, name):
    """Return a notebook as Markdown, with what its cells print and draw."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            if "text" in output:
                parts.append(f"```text\n{''.join(output['text'])}```")
            else:
                parts.append(f"![figure](data:image/png;base64,{output['data']['image/png']})")
    parts.insert(1, f'<a href="{name}" download>This page as a notebook</a>')
    return "\n\n".join(parts)


def on_page_markdown(markdown, page, config, files):
    """Let links lead to where a page lies in the site; what is not in it is text."""
    here = page.file.src_uri
    source = SOURCES.get(here, f"docs/{here}")

    def moved(match):
        mark, text, link = match.groups()
        if re.match(r"[a-z]+:|#", link):
            return match.group()
        path, _, anchor = link.partition("#")
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        target = OUTSIDE.get(target, target.removeprefix("docs/"))
        if files.get_file_from_path(target) is None:
            return text
        path = posixpath.relpath(target, posixpath.dirname(here) or ".")
        return f"{mark}[{text}]({path}{'#' * bool(anchor)}{anchor})"

    return LINK.sub(moved, markdown)
