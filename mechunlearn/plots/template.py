"""One look for every figure: the role decides colour, marker and dash."""

import html
import textwrap
from dataclasses import dataclass

import plotly.graph_objects as go


@dataclass(frozen=True, slots=True)
class Look:
    """How one role is drawn; distinct also without colour."""

    label: str
    colour: str
    marker: str
    dash: str


# Okabe and Ito's palette, which colour-blind readers can tell apart.
LOOKS = {
    "original": Look("original", "#555555", "square", "solid"),
    "unlearned": Look("unlearned", "#0072B2", "circle-open", "solid"),
    "attacked": Look("attacked", "#D55E00", "circle", "solid"),
    "never_knew": Look("never knew", "#009E73", "diamond", "dash"),
    "sham": Look("sham", "#CC79A7", "x", "dot"),
    "ceiling": Look("original under the attack", "#555555", "square-open", "solid"),
    "forget": Look("forget", "#D55E00", "circle", "solid"),
    "retain": Look("retain", "#0072B2", "circle", "dash"),
}

TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#1b1b1b"},
        "title": {"x": 0, "xanchor": "left", "xref": "paper", "font": {"size": 15}},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "margin": {"l": 20, "r": 20},
        "legend": {"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "x": 0},
        "xaxis": {"gridcolor": "#e6e6e6", "zeroline": False, "automargin": True},
        "yaxis": {"gridcolor": "#e6e6e6", "zeroline": False, "automargin": True},
    }
)


LEGEND_ROOM = 130
"""Pixels below the axes for axis title and legend, also when the legend wraps."""


def lay_out(fig: go.Figure, title: str, caption: str, height: int) -> go.Figure:
    """Give a figure the package's template, its finding as title and its caption.

    Args:
        title: The finding, as a sentence; also kept as ``layout.meta`` for pages that set it as
            text.
        caption: What was measured, with n; stands below the title.
        height: Pixels of the plotting area.
    """
    lines, small = _wrapped(title, 64), _wrapped(caption, 90)
    text = "<br>".join(f"<b>{line}</b>" for line in lines)
    text += "".join(f"<br><span style='font-size:12px'>{line}</span>" for line in small)
    top = 40 + 20 * (len(lines) + len(small))
    return fig.update_layout(
        template=TEMPLATE,
        title={"text": text, "yref": "container", "y": 1, "yanchor": "top", "pad": {"t": 16}},
        meta={"finding": title, "caption": caption},
        margin={"t": top, "b": LEGEND_ROOM},
        height=height + top + LEGEND_ROOM,
    )


def without_title(fig: go.Figure) -> go.Figure:
    """A copy for pages that show finding and caption as text."""
    bare = go.Figure(fig)
    height = fig.layout.height - fig.layout.margin.t + 40
    return bare.update_layout(title=None, margin={"t": 40}, height=height)


def _wrapped(text: str, width: int) -> list[str]:
    return [html.escape(line) for line in textwrap.wrap(text, width)] or [""]
