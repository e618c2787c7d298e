"""leak@k: what sampling an answer again and again tells, beside a model that never knew."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.analysis.leak import LeakCurve
from mechunlearn.plots.template import LOOKS, Look, error_bars, lay_out, level
from mechunlearn.records import Interval


def leak_at_k(curve: LeakCurve, label: str, role: str = "unlearned") -> go.Figure:
    """Both curves, and below them their difference, against the number of samples k.

    Args:
        label: What the model is called.
        role: Its look: ``unlearned``, ``attacked`` or ``original``.
    """
    points = curve.points
    ks = [p.k for p in points]
    fig = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.6, 0.4])
    last = points[-1]
    low, high = last.difference_ci
    beyond = "more than" if low > 0 else "less than" if high < 0 else "no more than"
    title = (
        f"{label}: in {last.k} samples {last.leak:.0%} of the facts come out, {beyond} from the "
        f"control ({last.control:.0%})"
    )
    caption = (
        f"Share of questions of which at least one of k sampled answers tells the fact (value at "
        f"least {curve.threshold:g}), with 95 % intervals; {curve.questions} questions from "
        f"{curve.sources} sources, {curve.samples} samples each. Below: less the control."
    )
    lay_out(fig, title, caption, height=420)
    own, its, difference = (
        [(p.leak, p.leak_ci) for p in points],
        [(p.control, p.control_ci) for p in points],
        [(p.difference, p.difference_ci) for p in points],
    )
    _add_line(fig, ks, own, label, LOOKS[role])
    _add_line(fig, ks, its, "never knew", LOOKS["never_knew"])
    _add_line(fig, ks, difference, "difference", LOOKS["attacked"], below=True)
    level(fig, 0.0, "chance", "y", row=2, col=1)
    fig.update_xaxes(type="log", tickvals=ks, ticktext=[str(k) for k in ks])
    fig.update_xaxes(title="samples k", row=2, col=1)
    fig.update_yaxes(title="leak@k", range=[0, 1.03], row=1, col=1)
    fig.update_yaxes(title="difference", row=2, col=1)
    return fig


def _add_line(
    fig: go.Figure,
    ks: Sequence[int],
    measured: Sequence[tuple[float, Interval]],
    name: str,
    look: Look,
    *,
    below: bool = False,
) -> None:
    values, intervals = [v for v, _ in measured], [ci for _, ci in measured]
    fig.add_scatter(
        x=ks,
        y=values,
        error_y=error_bars(values, intervals, color=look.colour, width=0, thickness=1.2),
        mode="lines+markers",
        name=name,
        showlegend=not below,
        line={"color": look.colour, "dash": look.dash},
        marker={"color": look.colour, "symbol": look.marker, "size": 8},
        customdata=intervals,
        hovertemplate=f"{name}, k = %{{x}}<br>%{{y:.3f}} [%{{customdata[0]:.3f}}, "
        "%{customdata[1]:.3f}]<extra></extra>",
        row=2 if below else 1,
        col=1,
    )
