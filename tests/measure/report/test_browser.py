# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Reports in a real browser: no error, no request, no page wider than a phone, tables that sort.

It takes Playwright and Chromium: ``make test-browser`` installs the first and says how to get the second. With
NLD_TRT_SCREENSHOTS pictures of the pages are kept in that folder.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from nld_trt.cli import run
from tests.measure.report.sweep_rows import ROWS, row, write_sweep

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
# A name that no line has room for, as a repository on a hub may have.
LONG = "organisation/nemotron-labs-diffusion-8b-instruct-int4-awq-calibrated-on-our-own-conversations"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make test-browser")
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no browser on PATH: {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as started:
        # Chromium's sandbox does not start as root, as tests in containers do; the pages are the tests' own.
        opened = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def opened(browser):
    """A function that opens a page of a size, and the list of what went wrong in it."""
    contexts = []

    def open_page(path: Path, size):
        context = browser.new_context(viewport=size)
        contexts.append(context)
        page, wrong = context.new_page(), []
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or wrong.append(request.url))
        page.goto(path.as_uri())
        return page, wrong

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Pages of one sweep, of a large one with everything, and of two compared, by name."""
    users = [1, 2, 4, 8, 16, 32, 64, 128]
    rows = [
        row(
            mode, count, 100.0 * count**power * gain, block=block, precision=precision, model=LONG,
            acceptance_length=8.1 if block else None, joules_per_token=9.5 / count,
        )
        for precision, gain in (("bf16", 1.0), ("fp16", 1.2))
        for mode, block, power in (
            ("ar", None, 0.97), ("linear", 16, 0.75), ("linear", 32, 0.7), ("diffusion", 32, 0.6), ("auto", None, 0.98),
        )
        for count in users
    ]  # fmt: skip
    sums = {"requests": 2, "tokens": 90, "nfe": 20, "accepted": 70, "drafts": 10}
    categories = {"coding": sums, "summarization": sums}
    point = {"row": rows[8], "categories": categories, "commands": ["aiperf " + "-x " * 90]}
    home = tmp_path_factory.mktemp("reports")
    small = write_sweep(home / "small")
    large = write_sweep(home / "large", rows, points=[("linear", point)])
    other = write_sweep(home / "after", [{**each, "output_tps": 1.01 * each["output_tps"]} for each in ROWS])
    pages = {name: home / f"{name}.html" for name in ("small", "large", "compare")}
    assert run(["report", str(small), "-o", str(pages["small"])]) == 0
    assert run(["report", str(large), str(small), "-o", str(pages["large"])]) == 0
    assert run(["report", "--compare", str(small), str(other), "-o", str(pages["compare"])]) == 0
    return pages


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_pages_have_no_error_and_no_overflow(reports, opened, size):
    for name, path in reports.items():
        page, wrong = opened(path, size)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], name
        assert wrong == [], name
        assert path.stat().st_size < 2_000_000
        if folder := os.environ.get("NLD_TRT_SCREENSHOTS"):
            page.screenshot(path=Path(folder, f"{name}-{size['width']}.png"), full_page=True)


def test_every_chart_is_drawn_with_its_texts_inside(reports, opened):
    outside = """() => [...document.querySelectorAll("svg text")].filter((text) => {
        const box = text.getBoundingClientRect(), whole = text.ownerSVGElement.getBoundingClientRect();
        return box.left < whole.left - 1 || box.right > whole.right + 1
            || box.top < whole.top - 1 || box.bottom > whole.bottom + 1;
    }).map((text) => text.textContent)"""
    for name, path in reports.items():
        page, _ = opened(path, DESK)
        assert page.locator("figure svg").count() >= 1
        assert page.evaluate(outside) == [], name


def test_legends_cover_no_data(reports, opened):
    """The lowest point of every chart with axes lies above the names of its lines."""
    covered = """() => [...document.querySelectorAll("svg")].flatMap((svg) => {
        const marks = [...svg.querySelectorAll("g")].filter((mark) => mark.querySelector("title"));
        const names = [...svg.querySelectorAll("text")].filter((text) => text.dataset.legend !== undefined);
        const bottom = Math.max(...marks.map((mark) => mark.getBoundingClientRect().bottom));
        return names.filter((name) => name.getBoundingClientRect().top < bottom).map((name) => name.textContent);
    })"""
    for name, path in reports.items():
        page, _ = opened(path, DESK)
        assert page.locator("svg text[data-legend]").count() >= 1
        assert page.evaluate(covered) == [], name


def test_tables_sort_by_numbers_and_back(reports, opened):
    page, wrong = opened(reports["large"], DESK)
    table = page.locator("#points table")
    titles = table.locator("th button").all_inner_texts()
    place = titles.index("tokens/s")

    def column(index):
        return [float(text.replace(",", "")) for text in table.locator(f"td:nth-child({index + 1})").all_inner_texts()]

    head = table.locator("th button").nth(place)
    head.click()
    rising = column(place)
    assert rising == sorted(rising)
    assert len(set(rising)) > 10
    head.click()
    assert column(place) == rising[::-1]
    assert table.locator("th").nth(place).get_attribute("aria-sort") == "descending"
    assert wrong == []


def test_tables_sort_from_the_keyboard_and_by_letters(reports, opened):
    page, _ = opened(reports["small"], DESK)
    table = page.locator("#points table")
    table.locator("th button").first.press("Enter")
    names = table.locator("td:first-child").all_inner_texts()
    assert names == sorted(names)
    assert len(set(names)) == 3


def test_cells_without_a_number_come_last(reports, opened):
    page, _ = opened(reports["small"], DESK)
    table = page.locator("#points table")
    titles = table.locator("th button").all_inner_texts()
    place = titles.index("acceptance length")
    for _ in ("rising", "falling"):
        table.locator("th button").nth(place).click()
        texts = table.locator(f"td:nth-child({place + 1})").all_inner_texts()
        assert texts == ["8.50"] * 4 + ["–"] * 8


def test_every_colour_of_a_line_can_be_seen_on_white(reports, opened):
    """Contrast of at least 2 to 1 for what is wide or filled."""
    page, _ = opened(reports["large"], DESK)
    fills = page.locator("svg g[fill]").evaluate_all('marks => marks.map((mark) => mark.getAttribute("fill"))')
    assert len(set(fills)) > 4
    for colour in set(fills):
        red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
        light = 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
        assert 1.05 / (light + 0.05) >= 2, colour
