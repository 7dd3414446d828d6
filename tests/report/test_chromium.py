"""The report in a browser: nothing goes wrong, all is drawn, and it can be used on a phone, in the dark and by keyboard."""

from pathlib import Path

import pytest

from replay.html.compare import compare_page
from replay.html.page import render
from replay.html.report import report_page
from simulators.truth_file import DriftMark
from tests.report.chromium import Chromium
from tests.report.made_run import HOUR_MS, START_MS, Plan, made_run

FOCUSED = "document.activeElement"
ROOMY, PHONE = 1_280, 390


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with every section that needs no second run."""
    drift = DriftMark(
        id="<b>news</b>", kind="abrupt", start_ms=START_MS + 9 * HOUR_MS, end_ms=START_MS + 15 * HOUR_MS, magnitude=0.5,
        levels=[(START_MS + 9 * HOUR_MS, 1.0), (START_MS + 15 * HOUR_MS, 0.0)], items_affected=10, users_affected=20,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(report_page(made_run(Plan(windows=36, oracle=0.45), Path("runs/<script>alert(1)<"), [drift]))))
    return path


@pytest.fixture
def browser(chromium: Chromium) -> Chromium:
    """The browser, with nothing told yet."""
    chromium.problems.clear()
    chromium.requests.clear()
    return chromium


def test_nothing_goes_wrong_and_every_chart_is_drawn(browser: Chromium, report: Path) -> None:
    browser.open(report, width=ROOMY)

    assert browser.problems == []
    assert [address for address in browser.requests if not address.startswith(("file:", "about:", "data:"))] == []
    charts = browser.run("document.querySelectorAll('.plot').length")
    assert charts >= 12
    assert browser.run("document.querySelectorAll('.plot .main-svg').length") >= charts
    assert browser.run("document.querySelectorAll('#time .scatterlayer path.js-line').length") >= 5
    assert browser.run("document.querySelector('h1').textContent") == "<script>alert(1)<"
    assert browser.run("document.querySelector('#timeline .ytick text').textContent") == "D1 abrupt"
    assert browser.run("document.querySelector('.headline').textContent").startswith("adapted is ahead of")
    assert browser.run("document.querySelectorAll('#models tbody tr').length") == 7


def test_a_page_that_fails_is_noticed(browser: Chromium, tmp_path: Path) -> None:
    (tmp_path / "broken.html").write_text(
        "<script>document.documentElement.dataset.drawn = 0; console.error('told'); missing()</script>"
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'\"><img src='https://127.0.0.1:9/x.png'>"
    )
    browser.open(tmp_path / "broken.html")
    browser.wait_for("document.readyState === 'complete'")

    told = "\n".join(browser.problems)
    assert "told" in told and "missing is not defined" in told and "Content Security Policy" in told


def test_the_dark_page_has_dark_paper_and_light_lines_also_when_it_gets_dark_later(browser: Chromium, report: Path) -> None:
    browser.open(report)
    colour = "time.data.find((trace) => trace.meta.model === 'adapted' && trace.meta.role === 'line').line.color"
    looks = []
    for scheme in ("light", "dark"):
        browser.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        browser.wait_for(f"{colour} === getComputedStyle(document.documentElement).getPropertyValue('--series-0').trim()")
        looks.append((browser.run("getComputedStyle(document.body).backgroundColor"), browser.run(colour)))

    assert looks == [("rgb(255, 255, 255)", "#0072b2"), ("rgb(20, 23, 26)", "#56b4e9")]
    assert browser.problems == []


def test_a_phone_scrolls_down_and_never_sideways(browser: Chromium, report: Path) -> None:
    browser.open(report, width=PHONE, height=844, phone=True)

    assert browser.run("document.scrollingElement.scrollWidth") == PHONE
    assert (
        browser.run("Math.max(...[...document.querySelectorAll('.plot')].map((one) => one.getBoundingClientRect().right))")
        <= PHONE
    )
    assert browser.run("[...document.querySelectorAll('.plot')].every((one) => one.layout.dragmode === false)")
    assert browser.run("Math.min(...[...document.querySelectorAll('.legend button')].map((one) => one.offsetHeight))") >= 40
    assert browser.problems == []


def test_the_keyboard_reaches_what_the_mouse_does(browser: Chromium, report: Path) -> None:
    browser.open(report, width=ROOMY)
    browser.press("Tab")
    assert browser.run(f"{FOCUSED}.className") == "skip"
    browser.press("Enter")
    assert browser.run(f"{FOCUSED}.id") == "results"

    browser.press("Tab")
    assert browser.run(f"{FOCUSED}.dataset.model") == "oracle"
    assert browser.run(f"getComputedStyle({FOCUSED}).outlineStyle") == "solid", "the focus can be seen"
    shown = "time.data.filter((trace) => trace.meta.model === 'oracle').map((trace) => trace.visible)"
    assert browser.run(shown) == [True, True]
    browser.press(" ")
    assert browser.run(f"{FOCUSED}.getAttribute('aria-pressed')") == "false"
    assert browser.run(shown) == [False, False]

    browser.run("document.querySelector('#models thead th:nth-child(2) button').focus()")
    order = "[...document.querySelectorAll('#models tbody th')].map((one) => one.textContent)"
    by_rank = browser.run(order)
    browser.press("Enter")
    assert browser.run(f"{FOCUSED}.parentNode.getAttribute('aria-sort')") == "descending"
    assert browser.run(order) == by_rank
    browser.press("Enter")
    assert browser.run(f"{FOCUSED}.parentNode.getAttribute('aria-sort')") == "ascending"
    assert browser.run(order) == by_rank[::-1]
    assert "sorted by" in browser.run("document.querySelector('.status').textContent")

    browser.run("document.querySelector('[data-view=\"HR@10\"]').focus()")
    before = browser.run("time.data.at(-1).y[0]")
    browser.press("Enter")
    assert browser.run("time.data.at(-1).y[0]") != before
    pressed = "[...document.querySelectorAll('#over-time [aria-pressed=true]')].map((one) => one.dataset.view)"
    assert browser.run(pressed) == ["HR@10"]
    assert browser.problems == []


def test_two_runs_side_by_side_are_drawn_too(browser: Chromium, tmp_path: Path) -> None:
    (tmp_path / "compare.html").write_text(render(compare_page(made_run(Plan()), made_run(Plan(better=0.05, seed=1)))))
    browser.open(tmp_path / "compare.html", width=ROOMY)

    assert browser.problems == []
    assert browser.run("document.querySelectorAll('#sides .main-svg').length") >= 6
    assert browser.run("document.querySelectorAll('.key li').length") == 2
