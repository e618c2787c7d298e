"""Which layers, heads, neurons and matrices an answer needs, as heat maps of attribution scores."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.hooks import Unit
from mechunlearn.plots.template import SCALE, lay_out, small_headings

MOST = 40
"""Neurons drawn for each layer, the highest first."""


def units(scores: Mapping[str, Any], unit: Unit, n: int, most: int = MOST) -> go.Figure:
    """A heat map for each model of ``unit_scores``: layers down, heads or the best neurons across.

    Args:
        scores: Model's name -> ``[layer, unit]``, not negative.
        unit: ``head`` or ``neuron``; neurons are sorted within their layer.
        n: Number of examples the scores are means of.
        most: Neurons drawn for each layer.

    Raises:
        ValueError: If there is no model, or an array is not ``[layer, unit]``.
    """
    arrays = {name: _array(values) for name, values in scores.items()}
    orders = {
        name: np.argsort(-a, axis=1, kind="stable")[:, :most]
        if unit == "neuron"
        else np.tile(np.arange(a.shape[1]), (len(a), 1))
        for name, a in arrays.items()
    }
    across = f"{unit}" if unit == "head" else f"{unit}s, the highest of each layer first"
    names = {
        k: [[f"{unit} {i}.{j}" for j in row] for i, row in enumerate(o)] for k, o in orders.items()
    }
    panels = {k: np.take_along_axis(a, orders[k], axis=1) for k, a in arrays.items()}
    return _maps(panels, names, _title(arrays, unit), across, n, arrays)


def matrices(scores: Mapping[str, Mapping[tuple[int, str], Any]], n: int) -> go.Figure:
    """A heat map for each model of ``weight_scores``: layers down, matrices across, mean score.

    Args:
        scores: Model's name -> (layer, matrix) -> scores of one matrix.
        n: Number of examples the scores are means of.

    Raises:
        ValueError: If there is no model.
    """
    columns = list(dict.fromkeys(m for each in scores.values() for _, m in each))
    panels, names = {}, {}
    for name, each in scores.items():
        layers = sorted({layer for layer, _ in each})
        panels[name] = np.array(
            [[float(each[i, m].mean()) if (i, m) in each else 0.0 for m in columns] for i in layers]
        )
        names[name] = [[f"{m} of layer {i}" for m in columns] for i in layers]
    fig = _maps(panels, names, _title(panels, "matrix", columns), "matrix, mean score", n, panels)
    return fig.update_xaxes(tickvals=list(range(len(columns))), ticktext=columns)


def _array(values: Any) -> np.ndarray:
    found = np.asarray(values.tolist() if hasattr(values, "tolist") else values, dtype=float)
    if found.ndim != 2 or not found.size:
        raise ValueError(f"scores must be [layer, unit], not an array of shape {found.shape}")
    return found


def _maps(
    panels: Mapping[str, np.ndarray],
    names: Mapping[str, Sequence[Sequence[str]]],
    title: str,
    across: str,
    n: int,
    whole: Mapping[str, np.ndarray],
) -> go.Figure:
    """Side by side on one scale; a column at the right of each holds the layers' shares."""
    if not panels:
        raise ValueError("there are no scores to draw; give at least one model's")
    depth = max(map(len, panels.values()))
    widths = [w for _ in panels for w in (0.86, 0.14)]
    fig = make_subplots(
        rows=1,
        cols=2 * len(panels),
        column_widths=widths,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        subplot_titles=[t for name in panels for t in (name, "layer")],
    )
    caption = (
        f"Mean over n = {n} examples; colour on one scale, in units of the loss (nats). There is "
        "no chance level: compare models and places. Bars: the layer's share of all scores."
    )
    lay_out(fig, title, caption, height=90 + max(22 * depth, 120))
    top = max(float(a.max()) for a in panels.values()) or 1.0
    for i, (name, values) in enumerate(panels.items()):
        fig.add_heatmap(
            z=[[float(f"{v:.4g}") for v in row] for row in values],
            customdata=[list(row) for row in names[name]],
            coloraxis="coloraxis",
            hovertemplate=f"{name}, %{{customdata}}<br>%{{z:.4g}}<extra></extra>",
            row=1,
            col=2 * i + 1,
        )
        shares = whole[name].sum(axis=1) / (whole[name].sum() or 1.0)
        fig.add_bar(
            x=np.round(shares, 4).tolist(),
            y=list(range(len(shares))),
            orientation="h",
            marker={"color": "#0072B2"},
            showlegend=False,
            hovertemplate=f"{name}, layer %{{y}}<br>%{{x:.1%}} of all scores<extra></extra>",
            row=1,
            col=2 * i + 2,
        )
        fig.update_xaxes(title=across, tickformat="d", row=1, col=2 * i + 1)
        fig.update_xaxes(
            title="share", tickformat=".0%", range=[0, 1], tickvals=[0, 1], row=1, col=2 * i + 2
        )
    bar = {"title": "score", "thickness": 12}
    fig.update_layout(coloraxis={"colorscale": SCALE, "cmin": 0, "cmax": top, "colorbar": bar})
    fig.update_yaxes(
        tickformat="d", dtick=max(1, depth // 8), range=[depth - 0.5, -0.5], showgrid=False
    )
    fig.update_yaxes(title="layer", col=1)
    return small_headings(fig)


def _title(
    arrays: Mapping[str, np.ndarray], unit: str, columns: Sequence[str] | None = None
) -> str:
    parts = []
    for name, values in arrays.items():
        layer, at = divmod(int(values.argmax()), values.shape[1])
        where = f"{columns[at]} of layer {layer}" if columns else f"{unit} {layer}.{at}"
        share = values[layer, at] / (values.sum() or 1.0)
        parts.append(f"{where} in {name} ({share:.0%} of all)")
    return f"The answers need most: {', '.join(parts)}"
