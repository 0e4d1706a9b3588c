"""The page as a browser shows it, opened by its file:// address."""

import time

import pytest

VISIBLE_ROWS = """
return [...document.querySelectorAll("#run-table tbody tr")]
  .filter(row => row.getClientRects().length)
  .map(row => ({run: Number(row.dataset.run), arm: row.dataset.arm, outcome: row.dataset.outcome,
                stages: row.dataset.stages}))
"""
# What is on the screen, not what the script believes: Plotly draws a group per visible line.
DRAWN_LINES = "return document.querySelectorAll('#plot .scatterlayer .trace').length"
SHOWN_CARDS = """
return [...document.querySelectorAll(".card")].filter(card => card.getClientRects().length)
  .map(card => card.querySelector("figcaption").innerText.split(/\\n/).join(", "))
"""
GROUND = "return getComputedStyle(document.body).backgroundColor"


def until(check, wanted):
    """Wait, for two seconds at most, until `check` returns what is wanted."""
    for _ in range(40):
        if (found := check()) == wanted:
            return
        time.sleep(0.05)
    assert found == wanted


@pytest.fixture
def page(browser, published):
    yield browser.open(published)
    browser.js("localStorage.clear()")  # all local files share it


def choose(page, name, value):
    """Choose in a filter as a person would."""
    field = page.driver.find_element("css selector", f"#filters [name={name}]")
    field.send_keys(value)


def count(page):
    return page.js("return document.getElementById('count').value")


def test_the_page_opens_whole_and_in_silence(page):
    rows = page.js(VISIBLE_ROWS)
    assert len(rows) == 9 and count(page) == "9 of 9 runs"
    # One run ended before its first epoch did.
    assert page.js(DRAWN_LINES) == 8
    assert page.js("return document.getElementById('drawn').value") == "8 of 9 runs drawn."
    assert page.console_errors() == []


def test_nothing_is_asked_of_a_network(page):
    page.driver.find_element("css selector", "#theme").click()
    asked = page.requests()
    assert any(address.startswith("file:") for address in asked)  # the log is not just empty
    strangers = [a for a in asked if a.partition(":")[0] not in ("file", "data", "blob")]
    assert strangers == []
    assert len([a for a in asked if a.startswith("file:")]) == 1


def test_the_plot_can_be_saved_and_not_sent_away(page):
    """Plotly's own row of buttons has one that opens a company's site and hands it the data."""
    buttons = "return [...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title)"
    save, *rest = page.js(buttons)
    assert save.lower() == "download plot as a png" and rest == ["Zoom", "Pan", "Reset axes"]
    saved = page.driver.execute_async_script(
        "const done = arguments[0];"
        "Plotly.toImage(plot, {format: 'png'}).then(done, error => done(String(error)))"
    )
    assert saved.startswith("data:image/png;base64,") and len(saved) > 5000
    assert page.console_errors() == []


@pytest.mark.parametrize(
    ("name", "value", "runs"),
    [
        ("stage", "clip_sweep", [6, 7, 8]),
        ("stage", "stage_a", list(range(9))),
        ("arm", "stable", [3, 4, 5]),
        ("outcome", "collapsed", [2]),
        ("outcome", "any failure", [0, 1, 2]),
        ("search", "nan STEP", [1]),
        ("search", "nowhere", []),
    ],
)
def test_a_filter_shows_its_rows_curves_and_pictures(page, name, value, runs):
    choose(page, name, value)
    until(lambda: [row["run"] for row in page.js(VISIBLE_ROWS)], runs)
    assert count(page) == f"{len(runs)} of 9 runs"
    until(lambda: page.js(DRAWN_LINES), len(set(runs) - {1}))
    cards = page.js(SHOWN_CARDS)
    shown = {
        0: "control, seed 0, exploded",
        4: "stable, seed 1, completed",
        7: "agc, seed 1, completed",
    }
    assert cards == (["truth"] if set(runs) & set(shown) else []) + [
        title for run, title in shown.items() if run in runs
    ]
    assert page.js("return document.getElementById('no-runs').hidden") is bool(runs)
    assert page.console_errors() == []


def test_filters_add_up_and_clear(page):
    choose(page, "arm", "control")
    choose(page, "outcome", "exploded")
    until(lambda: count(page), "1 of 9 runs")
    page.driver.find_element("css selector", "#filters [type=reset]").click()
    until(lambda: count(page), "9 of 9 runs")
    until(lambda: page.js(DRAWN_LINES), 8)


def heading(page, label):
    path = f"//th[starts-with(normalize-space(.), '{label}')]"
    return page.driver.find_element("xpath", f"//*[@id='run-table']/thead{path}")


LOSSES_SHOWN = """
const at = [...document.querySelectorAll("#run-table thead th")]
  .findIndex(th => th.textContent.startsWith("best validation loss"));
return [...document.querySelectorAll("#run-table tbody tr")].map(row => row.cells[at].textContent)
"""
AS_NUMBERS = ["2.00e-05", "0.0900", "0.100", "0.290", "0.300", "0.310", "9.10", "12.5"]


def test_losses_sort_as_numbers_and_what_is_missing_stays_last(page):
    button = heading(page, "best validation loss").find_element("css selector", "button")
    button.click()
    assert page.js(LOSSES_SHOWN) == [*AS_NUMBERS, "n/a"]
    assert heading(page, "best validation loss").get_attribute("aria-sort") == "ascending"
    button.click()
    assert page.js(LOSSES_SHOWN) == [*AS_NUMBERS[::-1], "n/a"]
    assert heading(page, "best validation loss").get_attribute("aria-sort") == "descending"
    heading(page, "arm").find_element("css selector", "button").click()
    assert [r["arm"] for r in page.js(VISIBLE_ROWS)] == ["agc"] * 3 + ["control"] * 3 + [
        "stable"
    ] * 3
    sorted_by = page.js("return document.querySelectorAll('th[aria-sort$=ending]').length")
    assert sorted_by == 1


def test_a_filter_still_means_the_same_runs_after_sorting(page):
    """Rows move when sorted; curves and pictures are found by run, not by place."""
    heading(page, "best validation loss").find_element("css selector", "button").click()
    choose(page, "arm", "stable")
    until(lambda: count(page), "3 of 9 runs")
    assert page.js(SHOWN_CARDS) == ["truth", "stable, seed 1, completed"]
    names = "return plot.data.filter(line => line.visible === true).map(line => line.name)"
    assert page.js(names) == [f"stable, seed {seed} (completed)" for seed in range(3)]


def test_the_keyboard_sorts_and_draws(page):
    button = heading(page, "seed").find_element("css selector", "button")
    page.js("arguments[0].focus()", button)
    button.send_keys("\ue007")
    assert heading(page, "seed").get_attribute("aria-sort") == "ascending"
    page.driver.find_element("css selector", "#legend input[value='2']").send_keys(" ")
    until(lambda: page.js(DRAWN_LINES), 5)


def test_the_legend_switches_an_arms_curves_and_no_row(page):
    page.driver.find_element("xpath", "//*[@id='legend']//label[contains(., 'stable')]").click()
    until(lambda: page.js(DRAWN_LINES), 5)
    visible = page.js("return plot.data.filter(line => line.visible === true).map(l => l.name)")
    assert not [name for name in visible if name.startswith("stable")]
    assert len(page.js(VISIBLE_ROWS)) == 9
    page.driver.find_element("css selector", "#legend [data-all='']").click()
    until(lambda: page.js(DRAWN_LINES), 0)
    page.driver.find_element("css selector", "#legend [data-all='1']").click()
    until(lambda: page.js(DRAWN_LINES), 8)


def test_failed_runs_are_marked_where_they_end_and_no_other(page):
    crosses = page.js(
        "return plot.data.map(line => [line.marker.symbol, line.marker.size.filter(Boolean).length,"
        " line.marker.size.at(-1) > 0])"
    )
    assert crosses[0] == ["x", 1, True] and crosses[2] == ["x", 1, True]
    assert [line[:2] for line in crosses[3:]] == [["circle", 0]] * 6
    assert page.js("return plot.layout.yaxis.type") == "log"


def test_a_loss_that_is_not_positive_has_a_linear_axis_of_its_own(browser, planted):
    for run in planted.runs[3:]:
        run["val_loss_name"] = "poisson_val_loss"  # planted negative
    browser.open(planted.publish())
    until(lambda: browser.js(DRAWN_LINES), 2)
    field = browser.driver.find_element("css selector", "#loss")
    field.send_keys("validation loss (Poisson)")
    until(lambda: browser.js(DRAWN_LINES), 6)
    assert browser.js("return plot.layout.yaxis.type") == "linear"
    assert browser.console_errors() == []


def lightness(colour):
    return sum(int(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3])


def test_light_and_dark_follow_the_system_and_the_switch(page):
    ink = "return plot.layout.font.color"
    light, light_ink = page.js(GROUND), page.js(ink)
    page.scheme("dark")
    until(lambda: lightness(page.js(GROUND)) < 200, True)
    until(lambda: page.js(ink) != light_ink, True)
    switch = page.driver.find_element("css selector", "#theme")
    assert switch.text == "Light"
    switch.click()
    assert page.js(GROUND) == light and page.js(ink) == light_ink
    switch.click()
    assert lightness(page.js(GROUND)) < 200
    browser_keeps = page.js("return localStorage.getItem('ptycho-theme')")
    assert browser_keeps == "dark"
    assert page.console_errors() == []


@pytest.mark.parametrize("which", ["published", "hostile"])
def test_a_phone_scrolls_one_way_only(browser, which, request):
    browser.open(request.getfixturevalue(which), width=390, height=844)
    sizes = browser.js(
        "return [document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth]"
    )
    assert sizes == [390, 390, 390]
    # The table is wider than the phone, and its container takes the scrolling.
    inside = "const t = document.querySelector('.tall'); return t.scrollWidth > t.clientWidth"
    assert browser.js(inside)
    stays = "const t = document.querySelector('.tall'); t.scrollLeft = 300; "
    stays += "return document.querySelector('tbody th').getBoundingClientRect().left"
    assert 0 <= browser.js(stays) < 30


def test_hostile_words_run_nothing_and_are_read_as_they_are(browser, hostile):
    browser.open(hostile)
    assert browser.js("return typeof window.owned") == "undefined"
    assert browser.driver.title == (
        '</title></script><script>window.owned = 1</script><img src=x onerror="window.owned=1">'
    )
    assert browser.js("return document.querySelector('h1').textContent") == browser.driver.title
    reasons = browser.js("return document.querySelector('tbody td:last-child').textContent")
    assert reasons.startswith("</script><script>window.owned")
    # Plotly knows some markup of its own in its labels.
    browser.js("Plotly.Fx.hover(plot, [{curveNumber: 0, pointNumber: 0}])")
    until(lambda: "<b>bold" in browser.js(HOVERED), True)
    assert browser.js("return document.querySelectorAll('img[src=x]').length") == 0
    assert browser.js("return typeof window.owned") == "undefined"
    assert browser.console_errors() == []


HOVERED = "return document.querySelector('.hoverlayer').textContent"


def test_a_hundred_and_fifty_runs_are_still_at_hand(browser, planted, make_run):
    arms = [f"arm_{letter}" for letter in "abcdefghijklmno"]
    planted.runs = [make_run(arm, seed, 0.1 + seed / 50) for arm in arms for seed in range(10)]
    browser.open(planted.publish())
    until(lambda: browser.js(DRAWN_LINES), 150)
    choose(browser, "arm", "arm_c")
    until(lambda: browser.js(DRAWN_LINES), 10)
    assert count(browser) == "10 of 150 runs"
    # Arms that share a colour differ in the kind of line.
    looks = browser.js("return plot.data.map(line => line.line.color + line.line.dash)")
    assert len(set(looks)) == 15
