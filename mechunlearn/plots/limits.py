"""What a trained perturbation brings back at each norm limit, and what it teaches."""

from collections.abc import Iterator

import plotly.graph_objects as go

from mechunlearn.analysis.report import Report
from mechunlearn.analysis.significance import significant
from mechunlearn.attacks.limits import LimitCurve, LimitTrace
from mechunlearn.plots.figure import TAUGHT, Figure, original, traced
from mechunlearn.plots.template import LOOKS, Look, error_bars, lay_out, level, spaced

_about = traced(LimitTrace)


def limits(report: Report, unlearned: str) -> go.Figure:
    """Accuracy against the norm limit: trained (lines), random (dotted), of both models."""
    rows = _about(report, unlearned)
    best = max(rows, key=lambda r: r.value)
    trace = report.findings_of(unlearned).trace(LimitTrace, best.attack)
    assert trace is not None
    caption = (
        f"Forget questions of the confirm fold, n = {best.n}, with 95 % intervals: {trace.where}, "
        "as it was chosen, trained on each model at every limit. Dotted: random ones that move "
        "states as far. Lines: chance (dotted), original (solid)."
    )
    control = "" if best.control is None else f", the never-knew model to {best.control:.0%}"
    ends = f"{unlearned} to {best.value:.0%}{control}, a random one to {best.sham:.0%}"
    what = spaced(best.attack)
    title = (
        f"A {what} takes {ends}"
        if significant(best)
        else f"No {what} brings back more of {unlearned} than of its controls: {ends}"
    )
    fig = lay_out(go.Figure(), title, caption, height=330)
    for label, look, curve, eps in _curves(report, unlearned, best.attack):
        fig.add_trace(_line(label, look, curve, eps))
    level(fig, trace.guessed, "chance", "y")
    level(fig, original(report).value, "original", "y")
    fig.update_yaxes(title="accuracy", range=[0, 1.05])
    ticks = list(trace.eps)
    fig.update_xaxes(
        title="norm limit, of the stream's median norm", type="log", tickvals=ticks, ticktext=ticks
    )
    return fig


def _curves(
    report: Report, unlearned: str, attack: str
) -> Iterator[tuple[str, Look, LimitCurve, tuple[float, ...]]]:
    for arm in TAUGHT:
        trace = report.findings_of(unlearned).trace(LimitTrace, attack, arm)
        look = LOOKS["attacked" if arm == "unlearned" else "never_knew"]
        if trace is None:
            continue
        label = unlearned if arm == "unlearned" else look.label
        for curve in trace.curves:
            yield f"{label}, {curve.name}", look, curve, trace.eps


def _line(label: str, look: Look, curve: LimitCurve, eps: tuple[float, ...]) -> go.Scatter:
    trained = curve.name == "trained"
    values = list(curve.values)
    return go.Scatter(
        x=list(eps),
        y=values,
        error_y=error_bars(values, curve.value_cis, width=2) if trained else None,
        name=label,
        mode="lines+markers",
        line={"color": look.colour, "dash": look.dash if trained else "dot"},
        marker={"symbol": look.marker, "size": 7 if trained else 5},
        customdata=list(curve.value_cis),
        hovertemplate="limit %{x}<br>accuracy %{y:.3f} [%{customdata[0]:.3f}, "
        f"%{{customdata[1]:.3f}}]<extra>{label}</extra>",
    )


FIGURE = Figure(
    kind="limits",
    explains="What one trained vector or map for all questions brings back, by how far it may "
    "move the stream; the never-knew model's is what it teaches.",
    draw=limits,
    about=_about,
)
