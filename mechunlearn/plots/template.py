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
        "margin": {"l": 20, "r": 20, "t": 84, "b": 50},
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0},
        "xaxis": {"gridcolor": "#e6e6e6", "zeroline": False, "automargin": True},
        "yaxis": {"gridcolor": "#e6e6e6", "zeroline": False, "automargin": True},
    }
)


def figure(title: str, caption: str = "", height: int = 380) -> go.Figure:
    """An empty figure with the package's template; long titles wrap.

    Args:
        title: The finding, as a sentence.
        caption: What was measured, with n; stands below the title.
    """
    lines = _wrapped(title, 62)
    text = "<br>".join(f"<b>{line}</b>" for line in lines)
    if caption:
        text += "".join(
            f"<br><span style='font-size:12px'>{c}</span>" for c in _wrapped(caption, 80)
        )
    rows = len(lines) + (len(_wrapped(caption, 80)) if caption else 0)
    top = 46 + 19 * rows
    return go.Figure(
        layout={
            "template": TEMPLATE,
            "title": {"text": text, "yref": "container", "y": 0.985, "yanchor": "top"},
            "margin": {"t": top},
            "height": height + top - 84,
        }
    )


def _wrapped(text: str, width: int) -> list[str]:
    return [html.escape(line) for line in textwrap.wrap(text, width)] or [""]
