"""Notebooks hover: in Jupyter by their data, on a page by themselves, with a picture beside."""

import importlib.util
from pathlib import Path
from typing import Any

import nbformat
import plotly.graph_objects as go
import pytest

HERE = Path(__file__).parents[2] / "notebooks"
pytest.importorskip("nbconvert", reason="pip install -e '.[notebooks]'")


def pages() -> Any:
    spec = importlib.util.spec_from_file_location("notebook_pages", HERE / "pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """One figure, kept as a notebook keeps it."""
    module = pages()
    figure = go.Figure(go.Heatmap(z=[[1, 2], [3, 4]], hovertemplate="seen %{z}<extra></extra>"))
    data = {module.HOVERS: figure.to_plotly_json(), "image/png": ""}
    output = nbformat.v4.new_output("display_data", data)
    cell = nbformat.v4.new_code_cell("figure", execution_count=1, outputs=[output])
    file = tmp_path / "figure.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), file)
    return file


@pytest.mark.ci
def test_a_page_hovers_without_a_network(browser: Any, notebook: Path, tmp_path: Path) -> None:
    page = browser.new_page(viewport={"width": 1000, "height": 700}, java_script_enabled=True)
    page.set_default_timeout(120_000)
    page.route("**/*", lambda r: r.abort() if r.request.url.startswith("http") else r.continue_())
    file = tmp_path / "page.html"
    file.write_text(pages().page(notebook), encoding="utf-8")
    page.goto(file.as_uri())
    plot = page.locator(".js-plotly-plot .nsewdrag").first
    plot.wait_for()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    page.locator(".hoverlayer text").first.wait_for()
    assert (page.locator(".hoverlayer").first.text_content() or "").startswith("seen ")
    page.close()


def test_only_figures_become_html(notebook: Path) -> None:
    before = nbformat.read(notebook, as_version=4)
    after = pages().with_figures(before)
    assert "text/html" in after.cells[0].outputs[0].data
    assert "text/html" not in before.cells[0].outputs[0].data
