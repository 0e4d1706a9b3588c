"""The page as text: what it holds, what it refuses, and that it is the same each time."""

import base64
import io
import re
import tomllib
from fnmatch import fnmatch
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ptycho_torch.report.publish.page import publish_page, seconds_text
from ptycho_torch.runtime.code_digest import code_behind
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.statistics.runs import shown_runs


class Elements(HTMLParser):
    """Every element with its attributes, as a browser would find them."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def named(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def elements(path):
    return Elements(path.read_text(encoding="utf-8"))


def test_a_row_per_run_and_the_baselines_apart(published):
    text = published.read_text(encoding="utf-8")
    assert len([r for r in elements(published).named("tr") if "data-run" in r]) == 9
    foot = re.search(r"<tfoot.*?>(.*?)</tfoot>", text, re.S).group(1)
    assert re.findall(r'<th scope="row"><span class="name">(.*?)</span></th>', foot) == [
        "constant image",
        "noise-free truth",
    ]
    assert foot.count("0.277") == 3
    assert "9 of 9 runs" in text


def test_the_same_inputs_give_the_same_bytes(planted):
    files = planted.write()
    publish_page(**files)
    first = files["page"].read_bytes()
    publish_page(**files | {"reconstructions": files["reconstructions"][::-1]})
    assert files["page"].read_bytes() == first


def test_markup_in_any_text_stays_text(hostile):
    """A title, reason, arm or sentence that holds elements must add none to the page."""
    page = elements(hostile)
    assert not [i for i in page.named("img") if not i["src"].startswith("data:image/png;base64,")]
    assert [s.get("type") for s in page.named("script")] == ["application/json", None, None]
    assert not [a for _, attributes in page.found for a in attributes if a.startswith("on")]
    assert (
        "49" not in re.search(r"<select name=\"arm\">(.*?)</select>", hostile.read_text(), re.S)[1]
    )


def test_the_page_may_load_nothing(published):
    page = elements(published)
    policy = [m["content"] for m in page.named("meta") if m.get("http-equiv")]
    assert policy and policy[0].startswith("default-src 'none';")
    for attributes in [*page.named("img"), *page.named("script"), *page.named("link")]:
        address = attributes.get("src") or attributes.get("href") or "data:"
        assert address.startswith("data:")


@pytest.mark.parametrize(("protocol", "said"), [("small", True), ("full", False)])
def test_a_small_study_says_so(planted, protocol, said):
    planted.study["protocol"] = protocol
    assert ('id="small"' in planted.publish().read_text()) is said


def test_an_infinite_loss_leaves_the_scripts_data_readable(planted):
    """JSON has no NaN, and a browser would refuse the whole of it."""
    planted.runs[0]["best_val_loss"] = float("inf")
    text = planted.publish().read_text()
    data = re.search(r'id="study-data">(.*?)</script>', text, re.S).group(1)
    assert "NaN" not in data and "Infinity" not in data
    assert "&lt;" not in data and "<" not in data


def test_the_middle_run_is_the_lower_of_two_and_one_failure_is_shown(planted):
    for run, ssim in zip(planted.runs[3:7], (0.9, 0.7, 0.8, 0.6), strict=True):
        run |= {"arm": "stable", "best_amplitude_ssim": ssim, "outcome": "completed"}
    planted.runs[6] |= {"seed": 3}
    runs = pd.DataFrame(planted.runs[:7])
    shown = shown_runs(runs)
    assert [(r["arm"], r["seed"]) for _, r in shown.iterrows()] == [("control", 0), ("stable", 1)]


def pictures_of(path):
    """Return label -> picture of every image in the gallery."""
    images = {i["alt"]: i["src"].partition(",")[2] for i in elements(path).named("img")}
    return {k: Image.open(io.BytesIO(base64.b64decode(v))) for k, v in images.items()}


def test_pictures_have_a_pixel_per_value_on_the_truths_scale(published):
    pictures = pictures_of(published)
    truth = pictures["amplitude of truth, lines"]
    assert truth.size == (20, 24)
    levels = np.asarray(truth)
    assert levels.min() == 0 and levels.max() == 254
    first, last = (truth.getpalette()[i * 3 : i * 3 + 3] for i in (0, 254))
    assert (first, last) == ([68, 1, 84], [253, 231, 36])  # viridis, from end to end


def test_a_run_is_drawn_on_the_truths_scale_and_not_on_its_own(planted):
    files = planted.write()
    path = next(p for p in files["reconstructions"] if "stable/seed-1" in str(p))
    arrays = dict(np.load(path))
    truth = arrays["truth_amplitude"]
    arrays["amplitude"] = np.full_like(truth, (truth.min() + truth.max()) / 2)
    arrays["amplitude"][0, 0] = 1e6
    np.savez(path, **arrays)
    publish_page(**files)
    levels = np.asarray(pictures_of(files["page"])["amplitude of lines/stable/seed-1"])
    assert set(levels[1:].ravel()) == {127} and set(levels[0]) == {254}


def test_a_run_without_values_is_drawn_empty_and_says_so(planted):
    planted.runs = planted.runs[1:2]
    text = planted.publish().read_text()
    alt = "amplitude of lines/control/seed-1 (no values)"
    picture = pictures_of(planted.folder / "index.html")[alt]
    assert np.asarray(picture.convert("RGBA"))[..., 3].max() == 0
    assert "no values</span>" in text and "No curve" in text


def test_a_phase_that_is_not_defined_is_left_out_with_its_reason(planted):
    for run in planted.runs:
        run["best_phase_ssim"] = None
    planted.study["undefined"] = {"phase_ssim": "the truth has no phase"}
    text = planted.publish().read_text()
    assert "phase, rad is not shown: the truth has no phase" in text
    assert not [k for k in pictures_of(planted.folder / "index.html") if k.startswith("phase")]


@pytest.mark.parametrize(("seconds", "text"), [(41.6, "42 s"), (200, "3 min 20 s"), (3900, "1 h 05 min"), (3599.7, "1 h 00 min")])  # fmt: skip
def test_times_are_written_as_people_say_them(seconds, text):
    assert seconds_text(seconds) == text


def test_what_the_page_is_made_of_is_installed_and_watched(root):
    parts = {p.name for p in (root / "src/ptycho_torch/report/templates").iterdir()}
    project = tomllib.loads((root / "pyproject.toml").read_text())
    data = project["tool"]["setuptools"]["package-data"]
    patterns = [*data["*"], *data["ptycho_torch.report"]]
    assert all(any(fnmatch(f"templates/{p}", pattern) for pattern in patterns) for p in parts)
    script = root / "workflow/scripts/publish.py"
    assert parts <= {path.name for path in code_behind(script, root / "src/ptycho_torch")}


def test_the_script_writes_the_page(planted, run_script):
    files = planted.write()
    page = files.pop("page")
    run_script("publish.py", input=files, output={"page": "made/index.html"})
    publish_page(**files, page=page)
    assert (page.parent / "made" / "index.html").read_bytes() == page.read_bytes()


# ---- What is refused -------------------------------------------------------------------------


def refuse(planted, *expected, **changes):
    files = planted.write() | changes
    with pytest.raises(InputError) as caught:
        publish_page(**files)
    for part in expected:
        assert part in str(caught.value), caught.value
    assert not files["page"].exists()


@pytest.mark.parametrize("column", ["stages", "best_amplitude_ssim", "wall_s"])
def test_a_table_without_a_column_is_refused(planted, column):
    for run in planted.runs:
        del run[column]
    refuse(planted, "runs.csv", f"lacks the column '{column}'", "run again")


def test_a_history_without_the_loss_is_refused(planted):
    for run in planted.runs:
        run["val_loss_name"] = "huber_val_loss"
    refuse(planted, "history.csv", "lacks the column 'huber_val_loss'")


def test_a_missing_reconstruction_of_a_shown_run_is_refused(planted):
    files = planted.write()
    without = [p for p in files["reconstructions"] if "stable" not in str(p)]
    refuse(planted, "lines/stable/seed-", "is missing", "evaluate it", reconstructions=without)


@pytest.mark.parametrize("key", ["baselines", "noise_floor", "provenance"])
def test_facts_of_another_version_are_refused(planted, key):
    del planted.study[key]
    refuse(planted, "study.json", key, "make them again")
