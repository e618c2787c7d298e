"""Activations along the found direction: what unlearning moved, and what it left."""

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.analysis.records import Report
from mechunlearn.plots.template import LOOKS, lay_out, small_headings


def projection(report: Report, unlearned: str) -> go.Figure:
    """Two histograms of the coordinate, original above unlearned, forget against retain."""
    drawn = report.details[unlearned]["projection"]
    models = {"original": drawn["original"], unlearned: drawn[unlearned]}
    layer = drawn[unlearned]["layer"]
    gap = {m: abs(np.mean(d["forget"]) - np.mean(d["retain"])) for m, d in models.items()}
    title = (
        f"Along the direction, forget and retain questions lie {gap[unlearned]:.1f} apart in "
        f"{unlearned} and {gap['original']:.1f} in the original"
    )
    n = len(drawn[unlearned]["forget"])
    caption = (
        f"Coordinate at the last token after block {layer}, confirm fold, n = {n} forget questions."
    )
    fig = make_subplots(
        rows=2, cols=1, shared_xaxes=True, subplot_titles=list(models), vertical_spacing=0.12
    )
    lay_out(fig, title, caption, height=320)
    everything = np.concatenate([d[r] for d in models.values() for r in ("forget", "retain")])
    low, high = float(everything.min()), float(everything.max())
    size = (high - low) / 60 or 1.0
    for row, values in enumerate(models.values(), start=1):
        for role in ("forget", "retain"):
            look = LOOKS[role]
            fig.add_histogram(
                x=values[role],
                name=f"{role} questions",
                legendgroup=role,
                showlegend=row == 1,
                xbins={"start": low, "end": high + size, "size": size},
                marker={
                    "color": look.colour,
                    "pattern": {"shape": "" if role == "forget" else "/"},
                },
                opacity=0.7,
                row=row,
                col=1,
                hovertemplate="%{x:.2f}: %{y} questions<extra>" + role + "</extra>",
            )
    fig.update_layout(barmode="overlay")
    fig.update_yaxes(title="questions")
    fig.update_xaxes(title="coordinate along the direction", row=2)
    return small_headings(fig)
