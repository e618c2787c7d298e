"""How an unlearning run went: accuracy and loss terms against steps."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.plots.template import LOOKS, lay_out, level


def training(card: Mapping[str, Any]) -> go.Figure:
    """Two panels from an unlearning RunCard: accuracy on the select fold, and the loss terms."""
    measured, chance = card["measured"], card["task"]["chance"]
    fig = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    ends = {
        role: [measured[i][f"{role} accuracy"] for i in (0, -1)] for role in ("forget", "retain")
    }
    title = (
        f"{card['method']}: forget accuracy {ends['forget'][0]:.0%} to {ends['forget'][1]:.0%}, "
    )
    title += f"retain {ends['retain'][0]:.0%} to {ends['retain'][1]:.0%}"
    caption = (
        f"{card['task']['name']}, select fold; the dotted line is chance. Below: the weighted "
        "terms of the loss, a mean of 5 steps."
    )
    lay_out(fig, title, caption, height=460)
    for role in ("forget", "retain"):
        look = LOOKS[role]
        fig.add_scatter(
            x=[m["step"] for m in measured],
            y=[m[f"{role} accuracy"] for m in measured],
            name=f"{role} accuracy",
            mode="lines+markers",
            line={"color": look.colour, "dash": look.dash},
            marker={"symbol": look.marker, "size": 7},
            hovertemplate="step %{x}<br>accuracy %{y:.3f}<extra></extra>",
            row=1,
            col=1,
        )
    level(fig, chance, "chance", "y", row=1, col=1)
    for name, values in card["terms"].items():
        look = LOOKS.get(name, LOOKS["forget"])
        smooth = [sum(values[max(0, i - 4) : i + 1]) / min(5, i + 1) for i in range(len(values))]
        fig.add_scatter(
            x=list(range(1, len(values) + 1)),
            y=[float(f"{v:.5g}") for v in smooth],
            name=f"{name} loss",
            mode="lines",
            line={"color": look.colour, "dash": look.dash, "width": 1.5},
            opacity=0.7,
            hovertemplate="step %{x}<br>loss %{y:.4g}<extra></extra>",
            row=2,
            col=1,
        )
    fig.update_yaxes(title="accuracy", range=[-0.03, 1.05], row=1, col=1)
    fig.update_yaxes(title="loss term", row=2, col=1)
    fig.update_xaxes(title="step", row=2, col=1)
    return fig


def write_training(card: Mapping[str, Any], folder: Path) -> None:
    """Write the figure as ``training.json`` and ``training.html``."""
    fig = training(card)
    (folder / "training.json").write_text(fig.to_json(pretty=True) + "\n", encoding="utf-8")
    fig.write_html(folder / "training.html", include_plotlyjs=True, full_html=True)
