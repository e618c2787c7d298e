"""Figures in notebooks as pictures, which pages without JavaScript show too."""

import plotly.graph_objects as go
import plotly.io as pio

WIDTH = 760
"""Pixels; the pictures have one and a half times as many."""


def static() -> str:
    """Make this session's notebook show plotly figures as PNG, where kaleido finds a browser.

    Elsewhere they are left interactive.

    Returns:
        Name of the renderer.
    """
    png = pio.renderers["png"]
    png.width, png.height, png.scale = WIDTH, None, 1.5
    try:
        go.Figure().to_image("png", width=10, height=10)
        pio.renderers.default = "png"
    except (ValueError, RuntimeError, ImportError):
        pio.renderers.default = "plotly_mimetype"
    return str(pio.renderers.default)
