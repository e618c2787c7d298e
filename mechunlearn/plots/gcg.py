"""The search for a text, and what each of its tokens does inside the model."""

from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.analysis.records import Report
from mechunlearn.plots.template import LOOKS, SCALE, lay_out, small_headings


def gcg(report: Report, unlearned: str) -> go.Figure:
    """Best loss against steps, above the chosen text token by token with its effect per layer."""
    row = next(r for r in report.rows if (r["unlearned"], r["attack"]) == (unlearned, "gcg"))
    arms = report.details[unlearned]["attacks"]["gcg"]
    seen = arms["unlearned"]
    fig = make_subplots(
        rows=2,
        cols=1,
        row_heights=[0.45, 0.55],
        vertical_spacing=0.2,
        subplot_titles=["the search", f"the {seen['place']}, token by token"],
    )
    caption = (
        f"Forget questions of the confirm fold, n = {row['n']}. Above: best loss so far of each "
        "restart. Below: how far the state at the end of the prompt moves when one token is left "
        "out, as a share of its length."
    )
    lay_out(fig, _title(row, seen, unlearned), caption, height=190 + 40 * len(seen["tokens"]) + 220)
    for arm, part in arms.items():
        role = "attacked" if arm == "unlearned" else "never_knew"
        for i, (x, y) in enumerate(_restarts(part["curve"])):
            fig.add_scatter(
                x=x,
                y=y,
                mode="lines",
                name=unlearned if arm == "unlearned" else "never-knew model",
                legendgroup=role,
                showlegend=i == 0,
                line={"color": LOOKS[role].colour, "dash": LOOKS[role].dash, "width": 1.6},
                hovertemplate="step %{x}<br>loss %{y:.3f}<extra></extra>",
                row=1,
                col=1,
            )
    fig.add_heatmap(
        z=seen["effects"],
        x=list(range(len(seen["effects"][0]))),
        y=list(range(len(seen["tokens"]))),
        colorscale=SCALE,
        zmin=0,
        colorbar={"title": "effect", "len": 0.5, "y": 0, "yanchor": "bottom"},
        hovertemplate="layer %{x}<br>effect %{z:.3f}<extra></extra>",
        row=2,
        col=1,
    )
    fig.update_xaxes(title="steps", row=1, col=1)
    fig.update_yaxes(title="loss (nats)", row=1, col=1)
    fig.update_xaxes(title="layer", dtick=max(1, len(seen["effects"][0]) // 8), row=2, col=1)
    fig.update_yaxes(
        tickvals=list(range(len(seen["tokens"]))),
        ticktext=[repr(t)[1:-1] for t in seen["tokens"]],
        autorange="reversed",
        row=2,
        col=1,
    )
    return small_headings(fig)


def _restarts(curve: list[float]) -> list[tuple[list[int], list[float]]]:
    """Split where the best loss rises: a new start."""
    parts: list[tuple[list[int], list[float]]] = []
    for loss in curve:
        if not parts or loss > parts[-1][1][-1]:
            parts.append(([], []))
        parts[-1][0].append(len(parts[-1][0]) + 1)
        parts[-1][1].append(loss)
    return parts


def _title(row: dict[str, Any], seen: dict[str, Any], unlearned: str) -> str:
    low, high = row["accuracy_ci"]
    return (
        f"{len(seen['tokens'])} tokens in every prompt bring {unlearned} to {row['accuracy']:.0%} "
        f"[{low:.0%}, {high:.0%}], random ones to {row['sham_accuracy']:.0%}"
    )
