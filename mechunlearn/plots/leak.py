"""leak@k: what sampling an answer again and again tells, beside a model that never knew."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.analysis.leak import LeakCurve
from mechunlearn.analysis.report import Report
from mechunlearn.analysis.words import name
from mechunlearn.plots.figure import Figure
from mechunlearn.plots.template import LOOKS, Look, error_bars, lay_out, level
from mechunlearn.records import Interval

EXPLAINS = (
    "What drawing an answer again and again brings out, beside the never-knew model (or, without "
    "one, beside the same texts in other questions' places)."
)


def leak(report: Report, model: str) -> go.Figure:
    """The unlearned model without and under the attack that leaks most beyond its control."""
    own = [x for x in report.leaks if x.model == model]
    before = next(x.curve for x in own if not x.attack)
    attacked = [x for x in own if x.attack]
    if not attacked:
        return leak_at_k(before, model)
    most = max(attacked, key=lambda x: x.curve.points[-1].difference)
    return leak_at_k(most.curve, f"{model}, {name(most.attack)}", "attacked", before)


def leak_at_k(
    curve: LeakCurve, label: str, role: str = "unlearned", before: LeakCurve | None = None
) -> go.Figure:
    """Both curves, and below them their difference, against the number of samples k.

    Args:
        label: What the model is called.
        role: Its look: ``unlearned``, ``attacked`` or ``original``.
        before: The model without an attack, to be drawn beside.
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
    if before is not None:
        _add_curve(fig, before, "without the attack", LOOKS["unlearned"])
    _add_curve(fig, curve, label, LOOKS[role])
    _add_line(fig, ks, [(p.control, p.control_ci) for p in points], "control", LOOKS["never_knew"])
    level(fig, 0.0, "chance", "y", row=2, col=1)
    fig.update_xaxes(type="log", tickvals=ks, ticktext=[str(k) for k in ks])
    fig.update_xaxes(title="samples k", row=2, col=1)
    fig.update_yaxes(title="leak@k", range=[0, 1.03], row=1, col=1)
    fig.update_yaxes(title="difference", row=2, col=1)
    return fig


def _add_curve(fig: go.Figure, curve: LeakCurve, title: str, look: Look) -> None:
    """A curve, and below what it has more than its control."""
    ks = [p.k for p in curve.points]
    _add_line(fig, ks, [(p.leak, p.leak_ci) for p in curve.points], title, look)
    less = [(p.difference, p.difference_ci) for p in curve.points]
    _add_line(fig, ks, less, title, look, below=True)


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


FIGURE = Figure(
    kind="leak",
    explains=EXPLAINS,
    draw=leak,
    needs=lambda report, model: any(x.model == model for x in report.leaks),
)
