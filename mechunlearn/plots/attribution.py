"""Which layers, heads, neurons and matrices an answer needs, as heat maps of attribution scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.hooks import Unit
from mechunlearn.plots.template import LOOKS, SCALE, lay_out, small_headings

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
    maps = {}
    for name, values in scores.items():
        array = _array(values)
        order = np.tile(np.arange(array.shape[1]), (len(array), 1))
        if unit == "neuron":
            order = np.argsort(-array, axis=1, kind="stable")[:, :most]
        names = [[f"{unit} {i}.{j}" for j in row] for i, row in enumerate(order)]
        maps[name] = _Map(np.take_along_axis(array, order, axis=1), names, array)
    return _draw(maps, unit if unit == "head" else "neuron, by rank in its layer", n)


def matrices(scores: Mapping[str, Mapping[tuple[int, str], Any]], n: int) -> go.Figure:
    """A heat map for each model of ``weight_scores``: layers down, matrices across, mean score.

    Args:
        scores: Model's name -> (layer, matrix) -> scores of one matrix, or their mean.
        n: Number of examples the scores are means of.

    Raises:
        ValueError: If there is no model.
    """
    columns = list(dict.fromkeys(m for each in scores.values() for _, m in each))
    maps = {}
    for name, each in scores.items():
        layers = sorted({layer for layer, _ in each})
        means = [[_mean(each[i, m]) if (i, m) in each else 0.0 for m in columns] for i in layers]
        names = [[f"{m} of layer {i}" for m in columns] for i in layers]
        maps[name] = _Map(np.array(means), names, np.array(means))
    fig = _draw(maps, "matrix, mean over its weights", n)
    for column in range(1, 2 * len(maps), 2):
        fig.update_xaxes(tickvals=list(range(len(columns))), ticktext=columns, col=column)
    return fig


@dataclass(frozen=True, slots=True, eq=False)
class _Map:
    shown: np.ndarray
    """Scores as drawn: layers down."""
    names: list[list[str]]
    every: np.ndarray
    """Also those that are not drawn."""

    @property
    def total(self) -> float:
        return float(self.every.sum()) or 1.0

    @property
    def best(self) -> str:
        layer, at = divmod(int(self.shown.argmax()), self.shown.shape[1])
        return f"{self.names[layer][at]} ({self.shown[layer, at] / self.total:.0%} of all)"


def _mean(values: Any) -> float:
    return float(values.mean() if hasattr(values, "mean") else values)


def _array(values: Any) -> np.ndarray:
    array = np.asarray(values.tolist() if hasattr(values, "tolist") else values, dtype=float)
    if array.ndim != 2 or not array.size:
        raise ValueError(f"scores must be [layer, unit], not an array of shape {array.shape}")
    return array


def _draw(maps: Mapping[str, _Map], across: str, n: int) -> go.Figure:
    """Side by side; bars at the right of each map hold the layers' sums."""
    if not maps:
        raise ValueError("there are no scores to draw; give at least one model's")
    depth = max(len(m.shown) for m in maps.values())
    fig = make_subplots(
        rows=1,
        cols=2 * len(maps),
        column_widths=[0.84, 0.16] * len(maps),
        shared_yaxes=True,
        horizontal_spacing=0.03,
        subplot_titles=[t for name in maps for t in (name, "layer")],
    )
    even = 1 / next(iter(maps.values())).every.size
    totals = ", ".join(f"{name} {m.total:.2g}" for name, m in maps.items())
    caption = (
        f"Mean over n = {n} examples; colour and bars: share of all scores of the model, whose sum "
        f"(nats) is {totals}. If all counted alike, each would have {even:.2%}."
    )
    title = ", ".join(f"{m.best} in {name}" for name, m in maps.items())
    lay_out(fig, f"The answers need most: {title}", caption, height=90 + max(22 * depth, 120))
    for i, (name, m) in enumerate(maps.items()):
        _panels(fig, name, m, across, 2 * i + 1)
    top = max(float(m.shown.max()) / m.total for m in maps.values())
    bar = {"title": "share", "thickness": 12, "tickformat": ".1~%"}
    fig.update_layout(coloraxis={"colorscale": SCALE, "cmin": 0, "cmax": top, "colorbar": bar})
    ticks = max(1, depth // 8)
    fig.update_yaxes(tickformat="d", dtick=ticks, range=[depth - 0.5, -0.5], showgrid=False)
    fig.update_yaxes(title="layer", col=1)
    return small_headings(fig)


def _panels(fig: go.Figure, name: str, m: _Map, across: str, column: int) -> None:
    fig.add_heatmap(
        z=[[float(f"{v / m.total:.4g}") for v in row] for row in m.shown],
        customdata=m.names,
        text=[[f"{v:.3g}" for v in row] for row in m.shown],
        coloraxis="coloraxis",
        hovertemplate=f"{name}, %{{customdata}}<br>%{{z:.2%}} of all, score %{{text}}"
        "<extra></extra>",
        row=1,
        col=column,
    )
    fig.add_bar(
        x=[round(float(v), 4) for v in m.every.sum(axis=1) / m.total],
        y=list(range(len(m.every))),
        orientation="h",
        marker={"color": LOOKS["unlearned"].colour},
        showlegend=False,
        hovertemplate=f"{name}, layer %{{y}}<br>%{{x:.1%}} of all scores<extra></extra>",
        row=1,
        col=column + 1,
    )
    fig.update_xaxes(title=across, tickformat="d", showgrid=False, row=1, col=column)
    share = {"title": "share", "range": [0, 1], "tickvals": [0, 1]}
    fig.update_xaxes(**share, row=1, col=column + 1)
