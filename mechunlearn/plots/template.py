"""One look for every figure: the role decides colour, marker and dash."""

import html
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio


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

LINE = "#777777"
"""Reference lines."""
LEVELS = {"chance": "dot", "unlearned": "dash", "original": "solid"}
"""Dashes of the reference lines."""
SCALE = [[0.0, "white"], [1.0, "#0072B2"]]
"""Nothing to much, on heat maps."""
AXIS = {"gridcolor": "#e6e6e6", "zeroline": False, "automargin": True, "ticks": ""}
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#1b1b1b"},
        "title": {"x": 0, "xanchor": "left", "font": {"size": 15}},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "margin": {"l": 20, "r": 20},
        "legend": {"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "x": 0},
        "xaxis": {"title": {"standoff": 8}, **AXIS},
        "yaxis": {"title": {"standoff": 8}, **AXIS},
    }
)
DARK = {
    "white": "#15181d",
    "#1b1b1b": "#e8eaed",
    "#e6e6e6": "#343941",
    LINE: "#9aa1ab",
    "#555555": "#c3c8cf",
    "#0072B2": "#56B4E9",
    "#D55E00": "#E69F00",
    "#009E73": "#2CC295",
    "#CC79A7": "#E3A0C6",
}
"""Each light colour's dark one: for the roles, the brighter members of the same palette."""

LEGEND_ROOM = 110
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
        title={
            "text": text,
            "yref": "container",
            "y": 1,
            "yanchor": "top",
            "pad": {"l": 20, "t": 16},
        },
        meta={"finding": title, "caption": caption},
        margin={"t": top, "b": LEGEND_ROOM},
        height=height + top + LEGEND_ROOM,
    )


def without_title(fig: go.Figure) -> go.Figure:
    """A copy for pages that show finding and caption as text."""
    bare = go.Figure(fig)
    height = fig.layout.height - fig.layout.margin.t + 40
    return bare.update_layout(title=None, margin={"t": 40}, height=height)


def darkened(fig: go.Figure) -> go.Figure:
    """The same figure for dark pages."""
    text = fig.to_json()
    for light, dark in DARK.items():
        text = text.replace(f'"{light}"', f'"{dark}"')
    return pio.from_json(text)


def level(fig: go.Figure, value: float, role: str, axis: str = "x", **place: Any) -> None:
    """A reference line across the panel: ``chance``, ``unlearned`` or ``original``."""
    draw = fig.add_vline if axis == "x" else fig.add_hline
    line = {"color": LINE, "dash": LEVELS[role], "width": 1.3}
    draw(**{axis: value}, line=line, **place)


def error_bars(
    values: Sequence[float], intervals: Sequence[Sequence[float] | None], **style: object
) -> dict[str, object]:
    """Plotly's ``error_x`` or ``error_y`` of intervals around values; no bar where there is none.

    Intervals are those of the report, which follow the sources: one computed from the number of
    questions alone would be narrower.
    """
    pairs = list(zip(values, intervals, strict=True))
    return {
        "type": "data",
        "symmetric": False,
        "array": [None if ci is None else ci[1] - v for v, ci in pairs],
        "arrayminus": [None if ci is None else v - ci[0] for v, ci in pairs],
        **style,
    }


def bounds(interval: Sequence[float] | None) -> str:
    """An interval behind its value in a hover text; nothing where there is none."""
    return "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"


def spaced(name: str) -> str:
    """``two_words`` as words."""
    return name.replace("_", " ")


def listed(names: Sequence[str]) -> str:
    """``a, b and c``."""
    head, last = names[:-1], names[-1]
    return f"{', '.join(head)} and {last}" if head else last


def small_headings(fig: go.Figure) -> go.Figure:
    """Panel titles in the size of tick labels."""
    for note in fig.layout.annotations:
        note.font.size = 12
    return fig


def _wrapped(text: str, width: int) -> list[str]:
    return [html.escape(line) for line in textwrap.wrap(text, width)] or [""]
