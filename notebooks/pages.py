"""Notebooks as web pages whose figures hover: ``python notebooks/pages.py 09``, into ``pages/``.

As nbconvert and nbviewer show them, but for figures that the notebook keeps as data: these are
drawn by plotly, which is part of the page, so that it opens without a network.
"""

import json
import re
import sys
from pathlib import Path

import nbformat
import plotly.io as pio
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from plotly.offline import get_plotlyjs

HERE = Path(__file__).parent
ELSEWHERE = re.compile(r'<script[^>]*(?:src="https?:[^"]*"|type="module")[^>]*>.*?</script>', re.S)
"""What nbconvert's pages fetch: a loader, formulas and diagrams, of which there are none here."""
HOVERS = "application/vnd.plotly.v1+json"


def with_figures(notebook: NotebookNode) -> NotebookNode:
    """A copy whose figures are HTML, which pages prefer to pictures."""
    notebook = nbformat.from_dict(json.loads(json.dumps(notebook)))
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if figure := output.get("data", {}).get(HOVERS):
                text = json.dumps({"data": figure["data"], "layout": figure["layout"]})
                html = pio.to_html(pio.from_json(text), include_plotlyjs=False, full_html=False)
                output.data["text/html"] = html
    return notebook


def page(file: Path) -> str:
    """A notebook as one self-contained page."""
    text, _ = HTMLExporter().from_notebook_node(with_figures(nbformat.read(file, as_version=4)))
    text = ELSEWHERE.sub("", text)
    return text.replace("<body", f"<script>{get_plotlyjs()}</script>\n<body", 1)


if __name__ == "__main__":
    folder = Path("pages")
    folder.mkdir(exist_ok=True)
    for name in sys.argv[1:]:
        for source in sorted(HERE.glob(f"{name}*.ipynb")):
            target = folder / f"{source.stem}.html"
            target.write_text(page(source), encoding="utf-8")
            sys.stderr.write(f"{target}\n")
