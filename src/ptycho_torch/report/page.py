"""Publish the whole study as one page that opens in any browser, without a server or a network."""

import os
from base64 import b64encode
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

from markdown_it import MarkdownIt
from markupsafe import Markup

from ptycho_torch.files import io
from ptycho_torch.report.rendering import render
from ptycho_torch.runtime.disk import opened, read_text

_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")


def publish_page(documents: Sequence[io.PathLike], page: io.PathLike) -> None:
    """Write Markdown documents with their pictures as one HTML page.

    They come in their order, each under its first heading; links between them stay within the page.
    The same inputs give the same bytes. Raises InputError if a document or a picture is missing.
    """
    ids = {p: f"{p.parent.name}-{p.stem}" for p in (Path(path).resolve() for path in documents)}
    root = Path(page).resolve().parent
    parts = [_part(path, ids, root) for path in ids]
    io.write_text(page, render("page.html.j2", parts=parts))


def _part(path: Path, ids: Mapping[Path, str], root: Path) -> dict[str, str]:
    """Return a document's id, first heading and HTML: pictures inside, links from `root`."""
    from matplotlib.image import imread, imsave  # Slow to import.

    tokens = _MARKDOWN.parse(read_text(path))
    for token in (inline for block in tokens for inline in block.children or []):
        if token.type == "image":
            with opened(path.parent / str(token.attrs["src"])) as picture, BytesIO() as smaller:
                # The same pixels as in the PNG, in half of the bytes.
                imsave(smaller, imread(picture), format="webp", pil_kwargs={"lossless": True})
                inside = b64encode(smaller.getvalue()).decode()
            token.attrs["src"] = f"data:image/webp;base64,{inside}"
        elif token.type == "link_open" and "://" not in (href := str(token.attrs["href"])):
            target = (path.parent / href).resolve()
            relative = Path(os.path.relpath(target, root)).as_posix()
            token.attrs["href"] = f"#{ids[target]}" if target in ids else relative
    title = next((token.content for token in tokens if token.type == "inline"), "")
    html = Markup(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}))
    return {"id": ids[path], "title": title, "html": html}
