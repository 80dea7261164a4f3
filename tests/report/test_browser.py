"""The report in a real browser: every picture renders, nothing is fetched, nothing is too wide."""

import pytest

from minicnn import report

from .browser import Browser, find_program
from .made_up import facts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_program() is None, reason="needs Chromium or Chrome"),
]

BROKEN = "[...document.images].filter(i => !(i.complete && i.naturalWidth > 0)).length"
PICTURES = "document.images.length"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
BACKGROUND = "getComputedStyle(document.body).backgroundColor"
# Elements that stick out of the page, unless they are inside a box that scrolls.
STICKING_OUT = """[...document.querySelectorAll('main *')].filter(e =>
  e.getBoundingClientRect().right > document.documentElement.clientWidth + 1
  && !e.closest('.box, pre')
).map(e => e.tagName + ' ' + e.textContent.slice(0, 40))"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    window = Browser(str(tmp_path_factory.mktemp("profile")))
    yield window
    window.close()


@pytest.fixture
def show(browser, tmp_path):
    """Opens a page in the browser; returns the browser and the page's address."""

    def call(page, **how):
        path = tmp_path / "report.html"
        path.write_text(page, encoding="utf-8")
        browser.open(path.as_uri(), **how)
        return browser, path.as_uri()

    return call


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("classes", [2, 6, 30, 100, 300])
def test_report_renders_whole_and_alone(show, classes, width):
    browser, url = show(report.page(facts(classes)), width=width)
    assert browser.value(PICTURES) > 20
    assert browser.value(BROKEN) == 0
    assert browser.requests() == [url]
    assert browser.value(OVERFLOW) == 0
    assert browser.value(STICKING_OUT) == []
    assert browser.value("document.querySelectorAll('script, link, iframe').length") == 0
    errors = [e for e in browser.events if e["method"] == "Log.entryAdded"]
    assert errors == []


def test_report_has_a_light_and_a_dark_side(show):
    page = report.page(facts())
    light = show(page)[0].value(BACKGROUND)
    dark = show(page, dark=True)[0].value(BACKGROUND)
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(20, 23, 27)")


def test_names_of_classes_are_text_and_not_elements(show):
    browser, _ = show(report.page(facts(6)))
    assert browser.value("document.querySelectorAll('bdi b, bdi script, bdi i').length") == 0
    assert "<script>alert(1)</script>" in browser.value("document.body.innerText")


def test_a_page_that_asks_outside_is_noticed(show):
    page = report.page(facts())
    outside = '<img src="http://example.invalid/a.png">'
    spoiled = page.replace("<main>", f"<main>{outside}")
    browser, url = show(spoiled)
    assert browser.value(BROKEN) == 1
    assert any(e["method"] == "Log.entryAdded" for e in browser.events)  # the policy refused it
    start = spoiled.index("<meta http-equiv")
    browser, url = show(spoiled[:start] + spoiled[spoiled.index(">", start) + 1 :])
    assert browser.requests() == [url, "http://example.invalid/a.png"]


def test_a_page_that_is_too_wide_is_noticed(show):
    page = report.page(facts()).replace("<main>", '<main><div style="width:900px">wide</div>')
    browser, _ = show(page, width=360)
    assert browser.value(OVERFLOW) > 0
    assert browser.value(STICKING_OUT) == ["DIV wide"]
