"""Where the answer can be read: logit-lens accuracy per layer and stream."""

from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.analysis.records import Report
from mechunlearn.analysis.verdict import significant
from mechunlearn.plots.template import LOOKS, lay_out, level, listed, small_headings
from mechunlearn.types import STREAMS

TITLES = {
    "resid_post": "block output",
    "attn_out": "attention output",
    "resid_mid": "residual before the MLP",
    "mlp_out": "MLP output",
}
NAMES = {"unlearned": "unlearned", "never_knew": "never-knew control"}


def lens(report: Report, unlearned: str) -> go.Figure:
    """Four panels of accuracy against layer: original, unlearned, never-knew control."""
    row = _row(report, unlearned)
    fig = make_subplots(
        rows=2,
        cols=2,
        subplot_titles=[TITLES[s] for s in STREAMS],
        shared_yaxes=True,
        vertical_spacing=0.17,
        horizontal_spacing=0.06,
    )
    title = (
        f"The lens reads {row['accuracy']:.0%} in {unlearned} at its best layer, against "
        f"{row['control_accuracy']:.0%} for its control"
    )
    lay_out(fig, title, _caption(report, row["n"]), height=430)
    for panel, stream in enumerate(STREAMS):
        place = {"row": panel // 2 + 1, "col": panel % 2 + 1}
        _panel(fig, report, unlearned, stream, panel == 0, place)
    fig.update_xaxes(title="layer", row=2)
    return _axes(fig)


def lens_by_method(report: Report) -> go.Figure:
    """A row of panels for each unlearned model, a column for each stream."""
    models = [name for name, detail in report.details.items() if "tried" in detail]
    models = [name for name in models if "lens" in report.details[name]]
    rows = {name: _row(report, name) for name in models}
    fig = make_subplots(
        rows=len(models),
        cols=len(STREAMS),
        column_titles=[TITLES[s] for s in STREAMS],
        row_titles=models,
        shared_xaxes=True,
        shared_yaxes=True,
        vertical_spacing=0.16 / len(models),
        horizontal_spacing=0.025,
    )
    found = [
        f"{r['accuracy']:.0%} in {name}{'' if significant(r) else ' (no more than its control)'}"
        for name, r in rows.items()
    ]
    title = f"At the best layer and stream the lens reads {listed(found)}"
    n = next(iter(rows.values()))["n"]
    lay_out(fig, title, _caption(report, n), height=60 + 150 * len(models))
    for i, name in enumerate(models):
        for j, stream in enumerate(STREAMS):
            place = {"row": i + 1, "col": j + 1}
            _panel(fig, report, name, stream, i == j == 0, place)
    fig.update_xaxes(title="layer", row=len(models))
    return _axes(fig)


def _row(report: Report, unlearned: str) -> dict[str, Any]:
    return next(
        r for r in report.rows if (r["unlearned"], r["attack"]) == (unlearned, "logit_lens")
    )


def _caption(report: Report, n: int) -> str:
    return (
        f"Forget questions of the confirm fold, n = {n}; bands are 95 % intervals. Lines: chance "
        f"{report.runcard['task']['chance']:.2f} (dotted), the original's own answers "
        f"{report.baselines['original']['forget']['accuracy']:.2f} (solid). Title: the place that "
        "the select fold chose."
    )


def _axes(fig: go.Figure) -> go.Figure:
    fig.update_yaxes(range=[0, 1.05])
    fig.update_yaxes(title="accuracy", col=1)
    fig.update_xaxes(tickformat="d")
    return small_headings(fig)


def _panel(
    fig: go.Figure,
    report: Report,
    unlearned: str,
    stream: str,
    legend: bool,
    place: dict[str, Any],
) -> None:
    detail = report.details[unlearned]
    curves = {"original": report.details["original"]["lens"], "unlearned": detail["lens"]}
    if "control_lens" in detail:
        curves["never_knew"] = detail["control_lens"]
    for role, points in curves.items():
        look = LOOKS[role]
        mine = [p for p in points if p["stream"] == stream]
        layers = [p["layer"] for p in mine]
        low, high = ([p["interval"][i] for p in mine] for i in (0, 1))
        fig.add_scatter(
            x=layers + layers[::-1],
            y=high + low[::-1],
            fill="toself",
            line={"width": 0},
            fillcolor=look.colour,
            opacity=0.15,
            hoverinfo="skip",
            showlegend=False,
            mode="lines",
            **place,
        )
        fig.add_scatter(
            x=layers,
            y=[p["accuracy"] for p in mine],
            name=NAMES.get(role, look.label),
            mode="lines+markers",
            showlegend=legend,
            legendgroup=role,
            line={"color": look.colour, "dash": look.dash},
            marker={"symbol": look.marker, "size": 8},
            customdata=[p["interval"] for p in mine],
            hovertemplate="layer %{x}<br>accuracy %{y:.3f} [%{customdata[0]:.3f}, "
            "%{customdata[1]:.3f}]<extra></extra>",
            **place,
        )
    level(fig, report.runcard["task"]["chance"], "chance", "y", **place)
    level(fig, report.baselines["original"]["forget"]["accuracy"], "original", "y", **place)
