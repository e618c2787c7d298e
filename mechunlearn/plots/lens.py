"""Where the answer can be read: logit-lens accuracy per layer and stream."""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.hooks import STREAMS
from mechunlearn.plots.template import LOOKS, lay_out
from mechunlearn.types import Report

TITLES = {
    "resid_post": "block output",
    "attn_out": "attention output",
    "resid_mid": "residual before the MLP",
    "mlp_out": "MLP output",
}


def lens(report: Report, unlearned: str) -> go.Figure:
    """Four panels of accuracy against layer: original, unlearned, never-knew control."""
    detail = report.details[unlearned]
    curves = {"original": report.details["original"]["lens"], "unlearned": detail["lens"]}
    if "control_lens" in detail:
        curves["never_knew"] = detail["control_lens"]
    row = next(r for r in report.rows if (r["unlearned"], r["attack"]) == (unlearned, "logit_lens"))
    fig = make_subplots(
        rows=2,
        cols=2,
        subplot_titles=[TITLES[s] for s in STREAMS],
        shared_yaxes=True,
        vertical_spacing=0.17,
        horizontal_spacing=0.06,
    )
    title = (
        f"The lens reads {row['accuracy']:.0%} at its best layer, against "
        f"{row['control_accuracy']:.0%} for its control"
    )
    caption = (
        f"Forget questions of the confirm fold, n = {row['n']}; bands are 95 % intervals, the "
        "dotted line is chance."
    )
    lay_out(fig, title, caption, height=430)
    for panel, stream in enumerate(STREAMS):
        place = {"row": panel // 2 + 1, "col": panel % 2 + 1}
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
                name=unlearned if role == "unlearned" else look.label,
                mode="lines+markers",
                showlegend=panel == 0,
                legendgroup=role,
                line={"color": look.colour, "dash": look.dash},
                marker={"symbol": look.marker, "size": 8},
                hovertemplate="layer %{x}<br>accuracy %{y:.3f}<extra></extra>",
                **place,
            )
        fig.add_hline(
            y=report.runcard["task"]["chance"],
            line={"color": "#777777", "dash": "dot", "width": 1.3},
            **place,
        )
    fig.update_yaxes(range=[0, 1.03])
    fig.update_yaxes(title="accuracy", col=1)
    fig.update_xaxes(title="layer", row=2)
    fig.update_xaxes(tickformat="d")
    for note in fig.layout.annotations[:4]:
        note.font.size = 12
    return fig
