"""Figures in notebooks as pictures, which pages without JavaScript show too."""

import plotly.graph_objects as go
import plotly.io as pio

WIDTH, SCALE = 720, 1.3
"""Width in pixels, and how many pixels the pictures have for each."""


def static() -> None:
    """Make this session's notebook show plotly figures as PNG, where kaleido finds a browser.

    Elsewhere they are left interactive.
    """
    png = pio.renderers["png"]
    png.width, png.height, png.scale = WIDTH, None, SCALE
    try:
        go.Figure().to_image("png", width=10, height=10)
        pio.renderers.default = "png"
    except (ValueError, RuntimeError, ImportError):
        pio.renderers.default = "plotly_mimetype"
