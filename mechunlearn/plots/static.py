"""Figures in notebooks as pictures, which pages without JavaScript show too."""

import plotly.graph_objects as go
import plotly.io as pio

from mechunlearn.plots.template import TEMPLATE

WIDTH, SCALE = 720, 1.2
"""Width in pixels, and how many pixels the pictures have for each."""


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
        pio.renderers.default = "png"
    except (ValueError, RuntimeError, ImportError):
        pio.renderers.default = "plotly_mimetype"
