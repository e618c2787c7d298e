"""Heat maps that say on hover what each cell is."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from mechunlearn.plots.template import SCALE, lay_out

Values = Float[np.ndarray, "row column"]
DIVERGING = [[0.0, "#0072B2"], [0.5, "white"], [1.0, "#D55E00"]]
"""Less to more than nothing."""
TEXT_UP_TO = 12
"""With more columns the numbers stand in the hover text alone."""
LABELLED_UP_TO = 40
"""Ticks of an axis at most."""


def shown(words: Sequence[str]) -> list[str]:
    """Tokens as labels: numbered, so that equal ones stay apart, and with their spaces visible."""
    marks = str.maketrans({" ": "·", "\n": "↵", "\t": "⇥"})
    return [f"{i} {word.translate(marks)}" for i, word in enumerate(words)]


def heat(
    values: Values,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    axes: tuple[str, str],
    what: str,
    signed: bool = False,
    digits: int = 3,
) -> go.Heatmap:
    """A panel; colour and hover text say the value.

    Args:
        axes: What rows and columns are: ``("layer", "head")``.
        what: What the value is, with its unit.
        signed: Values on both sides of nothing, which is white.
    """
    row, column = axes
    most = float(np.abs(values).max()) or 1.0
    return go.Heatmap(
        z=np.round(values.astype(float), digits).tolist(),
        x=list(columns),
        y=list(rows),
        colorscale=DIVERGING if signed else SCALE,
        zmin=-most if signed else 0.0,
        zmax=most,
        texttemplate="%{z:.2f}" if len(columns) <= TEXT_UP_TO else None,
        textfont={"size": 10},
        colorbar={"thickness": 12, "title": {"text": what, "side": "right"}},
        hovertemplate=f"{row} %{{y}}, {column} %{{x}}<br>{what} %{{z}}<extra></extra>",
    )


ROOM = 78
"""Pixels below the axes, for slanted ticks and the axis' title."""


def without_legend(fig: go.Figure) -> go.Figure:
    """Take back the room that ``lay_out`` leaves for a legend."""
    spare = fig.layout.margin.b - ROOM
    return fig.update_layout(margin={"b": ROOM}, height=fig.layout.height - spare)


def heat_figure(panel: go.Heatmap, title: str, caption: str, axes: tuple[str, str]) -> go.Figure:
    """One panel with its finding and its caption; rows go down as they are given."""
    fig = go.Figure(panel)
    height = 60 + min(26, max(14, 600 // len(panel.y))) * len(panel.y)
    lay_out(fig, title, caption, height=height)
    without_legend(fig)
    fig.update_xaxes(title=axes[1], showgrid=False, type="category", nticks=LABELLED_UP_TO)
    fig.update_yaxes(title=axes[0], showgrid=False, type="category", autorange="reversed")
    return fig
