"""The page in Chromium, headless: what a reader clicks on works, and nothing that a policy wrote is executed."""

import shutil

import pytest
from helpers.recorded import HOSTILE, lines, make_run, zoomed

from loupe.pages.page import write_page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium; apt-get install chromium")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    return write_page(make_run(tmp_path_factory.mktemp("page") / "a run, 100%", HOSTILE)).as_uri()


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=[1280, 390])
def tab(chromium, request):
    """A tab of this width, in which no error may have occurred at the end of the test."""
    opened, errors = chromium.new_page(viewport={"width": request.param, "height": 900}), []
    opened.set_default_timeout(5000)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield opened
    assert opened.evaluate("window.hurt") is None and errors == []
    assert opened.evaluate("document.documentElement.scrollWidth") == request.param
    opened.close()


def cards(tab):
    return tab.locator("#groups .card:not(.faded)").count()


def test_filters_open_and_links(tab, address):
    tab.goto(address)
    assert tab.locator("#charts .chart").count() == 5 and tab.locator("#advantages .chart").count() == 1
    assert cards(tab) == 12 and tab.locator("#pages").inner_text().splitlines()[1] == "1 to 10 of 14"
    tab.select_option("[name=Recorded]", "step-26")
    assert cards(tab) == 2 and tab.locator(".group h3").inner_text() == HOSTILE
    tab.select_option("[name=Answer]", "wrong")
    assert (cards(tab), tab.locator("#groups .card.faded").count()) == (1, 1)
    assert tab.evaluate("document.querySelector('#groups .picture img').naturalWidth") == 80
    tab.locator("#groups .card:not(.faded)").click()
    assert tab.url.endswith("#step-26/q/1/1")
    assert "name: zoom" in tab.locator("dialog .in-tool").inner_text()
    assert tab.locator("dialog circle.mark").get_attribute("cx") == "40"
    tab.keyboard.press("ArrowLeft")
    tab.locator("dialog .pill", has_text="no tool call").wait_for()
    assert tab.url.endswith("#step-26/q/1/0")
    assert tab.locator("dialog .answer").inner_text() == HOSTILE
    tab.keyboard.press("Escape")
    tab.select_option("[name=Answer]", "")
    tab.select_option("[name=Recorded]", "")
    tab.fill("[name=Text]", "SIGN 11")
    assert cards(tab) == 1


def test_the_hit_map_in_words_and_marks(tab, tmp_path):
    """A keypoint in the middle of the target, one two crops away from it, and one whose picture was not kept."""
    target = {"split": "after", "step": 26, "targets": [[30, 20, 50, 40]]}
    rows = [
        zoomed("a", **target),
        zoomed("b", **target, keypoints=[[120, 30]], crops=[[100, 10, 140, 50]], hits=[False]),
    ]
    rows += [zoomed("c", **target, picture=None, size=None), zoomed("d", split="before", step=0, hits=None)]
    folder = make_run(tmp_path / "run")
    lines(folder / "trajectories.jsonl", rows)
    tab.goto(write_page(folder).as_uri())
    told = "3 calls; 2 hit (67%), 1 missed; half of them within 2.00 crop sizes of the target's middle; "
    told += "1 farther than 1, drawn at the edge; 1 not drawn, because no picture of them was kept"
    assert tab.locator("#hit-maps .note").first.inner_text() == f"{told}."
    around = tab.locator("#hit-maps .chart svg").first
    assert around.get_attribute("aria-label") == f"Around the target: {told}"
    assert around.locator(".call.hit").get_attribute("d").startswith("M153 156a")  # of 312, without the disc's radius
    assert around.locator(".call.missed").get_attribute("d").startswith("M302.5 ")
    tab.locator("#hit-maps select").select_option("before")
    assert "1 call; no targets known" in tab.locator("#hit-maps .note").first.inner_text()


def test_a_film_strip_leads_through_its_frames(tab, address):
    tab.goto(address)
    frames = tab.locator("#films .card")
    assert frames.locator(".pill").all_inner_texts() == ["step 0", "step 25"]
    assert frames.nth(0).locator("circle.mark").count() == 1 and frames.nth(1).locator("circle.mark").count() == 0
    assert "right at 1 of 2 validations" in tab.locator("#films .meta").inner_text()
    frames.nth(0).click()
    assert tab.url.endswith("#val-0/v/0")
    tab.locator("dialog .pill").first.wait_for()  # keys before that go nowhere
    tab.keyboard.press("ArrowRight")
    tab.locator("dialog .pill", has_text="no tool call").wait_for()
    assert tab.url.endswith("#val-25/v/0") and tab.locator("dialog [aria-label=Next]").is_disabled()


def test_a_link_opens_its_card_and_a_chart_is_read(tab, address):
    tab.goto(f"{address}#step-1/q/1/1")
    assert tab.locator("dialog[open] .pill").inner_text() == "successful tool call"
    assert tab.locator("dialog td").all_inner_texts()[:2] == ["0.00", "–"]
    tab.keyboard.press("Escape")
    tab.locator("#charts svg[tabindex]").nth(1).focus()
    tab.keyboard.press("ArrowLeft")
    assert tab.locator("#charts .chart").nth(1).locator(".at").inner_text() == "step 25"
