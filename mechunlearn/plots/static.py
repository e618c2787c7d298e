"""Figures in notebooks as pictures, which pages without JavaScript show too."""

import warnings

import plotly.graph_objects as go
import plotly.io as pio

from mechunlearn.plots.template import TEMPLATE

WIDTH, SCALE = 720, 1.2
"""Width in pixels, and how many pixels the pictures have for each."""


def keep_browser() -> None:
    """One browser for all pictures; kaleido starts one for each otherwise, seconds of work."""
    import kaleido

    kaleido.start_sync_server(silence_warnings=True)
    warnings.filterwarnings("ignore", message="The kopts argument is ignored")


def hovering() -> None:
    """Show plotly figures so that they hover in Jupyter, each with its picture beside it.

    The picture is what pages that run nothing show, such as a notebook on GitHub; it is an SVG, a
    quarter of a PNG's size. Without kaleido or a browser there is none.
    """
    static()
    if pio.renderers.default == "png":
        pio.renderers["svg"].width = WIDTH
        pio.renderers.default = "plotly_mimetype+svg"
    pio.templates.default = "none"  # Each figure brings its own; twice the size otherwise.


def static() -> None:
    """Show plotly figures in the package's look from now on, as PNG where there is a browser.

    Without kaleido or a browser figures are left interactive.
    """
    pio.templates["mechunlearn"] = TEMPLATE
    pio.templates.default = "plotly_white+mechunlearn"
    png = pio.renderers["png"]
    png.width, png.height, png.scale = WIDTH, None, SCALE
    try:
        go.Figure().to_image("png", width=10, height=10)
        keep_browser()  # Only where there is one: without it kaleido would wait for an answer.
        pio.renderers.default = "png"
    except (ValueError, RuntimeError, ImportError):
        pio.renderers.default = "plotly_mimetype"
