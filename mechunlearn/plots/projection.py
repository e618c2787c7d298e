"""Activations along the direction: what unlearning moved, and what it left."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.analysis.report import Report
from mechunlearn.attacks.projection import ProjectionTrace
from mechunlearn.plots.figure import Figure, traced
from mechunlearn.plots.template import LOOKS, lay_out, small_headings

_about = traced(ProjectionTrace, "unlearned", "original")


def projection(report: Report, unlearned: str) -> go.Figure:
    """Two histograms of the coordinate, original above unlearned, forget against retain."""
    attack = max(_about(report, unlearned), key=lambda row: row.value).attack
    findings = report.findings_of(unlearned)
    before = findings.trace(ProjectionTrace, attack, "original")
    after = findings.trace(ProjectionTrace, attack)
    assert before is not None
    assert after is not None
    traces = (before, after)
    gaps = [abs(np.mean(t.forget) - np.mean(t.retain)) for t in traces]
    title = (
        f"Along the direction, forget and retain questions lie {gaps[1]:.1f} apart in "
        f"{unlearned} and {gaps[0]:.1f} in the original"
    )
    caption = (
        f"Coordinate at the last token after block {after.layer}, confirm fold, n = "
        f"{len(after.forget)} forget questions."
    )
    fig = make_subplots(
        rows=2,
        cols=1,
        shared_xaxes=True,
        subplot_titles=[report.original.label, unlearned],
        vertical_spacing=0.12,
    )
    lay_out(fig, title, caption, height=320)
    _histograms(fig, traces)
    fig.update_layout(barmode="overlay")
    fig.update_yaxes(title="questions")
    fig.update_xaxes(title="coordinate along the direction", row=2)
    return small_headings(fig)


def _histograms(fig: go.Figure, traces: Sequence[ProjectionTrace]) -> None:
    """Forget and retain questions of each trace, in a row of its own."""
    everything = np.concatenate([part for t in traces for part in (t.forget, t.retain)])
    low, high = float(everything.min()), float(everything.max())
    size = (high - low) / 60 or 1.0
    for row, trace in enumerate(traces, start=1):
        for role, x in (("forget", trace.forget), ("retain", trace.retain)):
            look = LOOKS[role]
            fig.add_histogram(
                x=x,
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


FIGURE = Figure(
    kind="projection",
    explains="Activations projected on the direction that the attack takes out.",
    draw=projection,
    about=_about,
)
