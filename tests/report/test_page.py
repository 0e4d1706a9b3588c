"""The page: what it holds, what it refuses, and how a browser shows it."""

import base64
import tomllib
from fnmatch import fnmatch
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from ptycho_torch.report.page import publish_page
from ptycho_torch.runtime.errors import InputError

BREAK_OUT = '</script><script>window.owned = 1</script><img src=x onerror="window.owned=1">'


class Elements(HTMLParser):
    """Every element with its attributes, as a browser would find them."""

    def __init__(self, path):
        super().__init__()
        self.found = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def named(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def plant(folder, title="Which network?"):
    """Write documents and a picture; return what `publish_page` takes."""
    for name in ("study", "stage_a"):
        (folder / name).mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "study/overview.png")
    documents = {
        "study/summary.md": f"# {title}\n\n![All](overview.png)\n\nSee [why](decision.md), "
        "[A](../stage_a/summary.md), [the rest](../stage_a/appendix.md) or "
        "[the paper](https://example.org/paper).\n",
        "study/decision.md": f"# Undecided\n\n| rule |\n| --- |\n| `{title}` |\n",
    }
    for name, text in documents.items():
        (folder / name).write_text(text)
    return {"documents": [folder / name for name in documents], "page": folder / "index.html"}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page whose title would like to run something."""
    given = plant(tmp_path_factory.mktemp("page"), title=BREAK_OUT)
    publish_page(**given)
    return given["page"]


def test_documents_stand_in_their_order_with_pictures_inside_and_links_that_lead_on(page):
    found = Elements(page)
    assert [s["id"] for s in found.named("section")] == ["study-summary", "study-decision"]
    assert [link["href"] for link in found.named("a")] == [
        *("#study-summary", "#study-decision", "#study-decision"),
        *("stage_a/summary.md", "stage_a/appendix.md", "https://example.org/paper"),
    ]
    (picture,) = found.named("img")
    content = base64.b64decode(picture["src"].removeprefix("data:image/webp;base64,"))
    pictures = (BytesIO(content), page.parent / "study/overview.png")
    inside, outside = (Image.open(picture).convert("RGB") for picture in pictures)
    assert inside.tobytes() == outside.tobytes()


def test_markup_in_any_text_stays_text_and_nothing_is_loaded(page):
    found = Elements(page)
    assert not found.named("script")
    assert not [key for _, attributes in found.found for key in attributes if key[:2] == "on"]
    assert all(image["src"].startswith("data:image/webp") for image in found.named("img"))
    policy = next(m["content"] for m in found.named("meta") if "http-equiv" in m)
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_a_picture_that_is_missing_is_named(tmp_path):
    given = plant(tmp_path / "results")
    (tmp_path / "results/study/overview.png").unlink()
    with pytest.raises(InputError, match="overview.png: cannot be read: No such file"):
        publish_page(**given)


def test_what_the_page_is_made_of_is_installed(root):
    parts = {p.name for p in (root / "src/ptycho_torch/report/templates").iterdir()}
    project = tomllib.loads((root / "pyproject.toml").read_text())
    data = project["tool"]["setuptools"]["package-data"]
    patterns = [*data["*"], *data["ptycho_torch.report"]]
    assert all(any(fnmatch(f"templates/{p}", pattern) for pattern in patterns) for p in parts)


def test_hostile_words_run_nothing_and_are_read_as_they_are(browser, page):
    browser.open(page, width=390, height=844)
    size = "return [document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth]"
    assert browser.js(size) == [390, 390, 390]
    assert browser.js("return typeof window.owned") == "undefined"
    assert browser.js("return document.querySelector('h1').textContent") == BREAK_OUT
    assert browser.driver.title == BREAK_OUT
    assert browser.console_errors() == []
    # Nothing was asked of a network, and the log is not just empty.
    assert [at for at in browser.requests() if at[:5] != "data:"] == [page.as_uri()]
