"""The search for a text, and what each of its tokens does inside the model."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.analysis.records import Row
from mechunlearn.analysis.report import Report
from mechunlearn.attacks.gcg.prefixes import PrefixTrace
from mechunlearn.plots.figure import TAUGHT, Figure, traced
from mechunlearn.plots.template import LOOKS, SCALE, lay_out, small_headings

_about = traced(PrefixTrace)


def prefix(report: Report, unlearned: str) -> go.Figure:
    """Best loss against steps, above the chosen text token by token with its effect per layer."""
    row = max(_about(report, unlearned), key=lambda r: r.value)
    chosen = report.findings_of(unlearned).trace(PrefixTrace, row.attack)
    assert chosen is not None
    fig = make_subplots(
        rows=2,
        cols=1,
        row_heights=[0.45, 0.55],
        vertical_spacing=0.2,
        subplot_titles=["the search", f"the {chosen.place}, token by token"],
    )
    caption = (
        f"Forget questions of the confirm fold, n = {row.n}. Above: best loss so far of each "
        "restart. Below: how far the state at the end of the prompt moves when one token is left "
        "out, as a share of its length."
    )
    lay_out(fig, _title(row, chosen), caption, height=190 + 40 * len(chosen.tokens) + 220)
    _losses(fig, report, row)
    fig.add_heatmap(
        z=chosen.effects,
        x=list(range(len(chosen.effects[0]))),
        y=list(range(len(chosen.tokens))),
        colorscale=SCALE,
        zmin=0,
        colorbar={"title": "effect", "len": 0.5, "y": 0, "yanchor": "bottom"},
        hovertemplate="layer %{x}<br>effect %{z:.3f}<extra></extra>",
        row=2,
        col=1,
    )
    fig.update_xaxes(title="steps", row=1, col=1)
    fig.update_yaxes(title="loss (nats)", row=1, col=1)
    fig.update_xaxes(title="layer", dtick=max(1, len(chosen.effects[0]) // 8), row=2, col=1)
    fig.update_yaxes(
        tickvals=list(range(len(chosen.tokens))),
        ticktext=[repr(t)[1:-1] for t in chosen.tokens],
        autorange="reversed",
        row=2,
        col=1,
    )
    return small_headings(fig)


def _losses(fig: go.Figure, report: Report, row: Row) -> None:
    for arm in TAUGHT:
        trace = report.findings_of(row.model).trace(PrefixTrace, row.attack, arm)
        if trace is None:
            continue
        role = "attacked" if arm == "unlearned" else "never_knew"
        for i, (x, y) in enumerate(_restarts(trace.curve)):
            fig.add_scatter(
                x=x,
                y=y,
                mode="lines",
                name=row.model if arm == "unlearned" else "never-knew model",
                legendgroup=role,
                showlegend=i == 0,
                line={"color": LOOKS[role].colour, "dash": LOOKS[role].dash, "width": 1.6},
                hovertemplate="step %{x}<br>loss %{y:.3f}<extra></extra>",
                row=1,
                col=1,
            )


def _restarts(curve: Sequence[float]) -> list[tuple[list[int], list[float]]]:
    """Split where the best loss rises: a new start."""
    parts: list[tuple[list[int], list[float]]] = []
    for loss in curve:
        if not parts or loss > parts[-1][1][-1]:
            parts.append(([], []))
        parts[-1][0].append(len(parts[-1][0]) + 1)
        parts[-1][1].append(loss)
    return parts


def _title(row: Row, trace: PrefixTrace) -> str:
    low, high = row.value_ci
    return (
        f"{len(trace.tokens)} tokens in every prompt bring {row.model} to {row.value:.0%} "
        f"[{low:.0%}, {high:.0%}], random ones to {row.sham:.0%}"
    )


FIGURE = Figure(
    kind="prefix",
    explains="One short text in every prompt, found by greedy coordinate gradient on other "
    "questions.",
    draw=prefix,
    about=_about,
)
