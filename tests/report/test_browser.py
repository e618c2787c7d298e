"""The page in a real browser: no errors, no network, nothing wider than the screen."""

import shutil
from pathlib import Path

import pytest

from mechunlearn.plots import figures
from mechunlearn.report import write_page
from mechunlearn.types import Report

sync_api = pytest.importorskip("playwright.sync_api", reason="needs: pip install -e '.[dev]'")
BROWSER = next((b for b in map(shutil.which, ("chromium", "google-chrome")) if b), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")


@pytest.fixture(scope="module")
def page_file(example_report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(example_report, tmp_path_factory.mktemp("page") / "report.html")


@needs_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_works(page_file: Path, example_report: Report, width: int) -> None:
    messages: list[str] = []
    with sync_api.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda m: messages.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda r: messages.append(r.url) if r.url.startswith("http") else None)
        page.goto(page_file.as_uri())
        page.wait_for_selector(".js-plotly-plot .main-svg")
        assert page.locator(".js-plotly-plot").count() == len(figures(example_report))
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
    assert messages == []
