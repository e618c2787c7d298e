"""Where the answer can be read: logit-lens accuracy per layer and stream."""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.analysis.records import Arm, Row
from mechunlearn.analysis.report import Report
from mechunlearn.analysis.significance import significant
from mechunlearn.attacks.logit_lens import LensTrace
from mechunlearn.plots.figure import Figure, Place, attacked, original, traced
from mechunlearn.plots.template import LOOKS, lay_out, level, listed, small_headings
from mechunlearn.types.points import STREAMS, Stream

TITLES = {
    "resid_post": "block output",
    "attn_out": "attention output",
    "resid_mid": "residual before the MLP",
    "mlp_out": "MLP output",
}
LABELS: dict[Arm, str] = {
    "original": LOOKS["original"].label,
    "unlearned": "unlearned",
    "never_knew": "never-knew control",
}
EXPLAINS = "The final norm and unembedding applied to inner streams at the last prompt token."
_about = traced(LensTrace)


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
        f"The lens reads {row.value:.0%} in {unlearned} at its best layer, against "
        f"{row.compared:.0%} for its control"
    )
    lay_out(fig, title, _caption(report, row.n), height=430)
    for panel, stream in enumerate(STREAMS):
        place = {"row": panel // 2 + 1, "col": panel % 2 + 1}
        _panel(fig, report, row, stream, panel == 0, place)
    fig.update_xaxes(title="layer", row=2)
    return _axes(fig)


def lens_by_method(report: Report) -> go.Figure:
    """A row of panels for each unlearned model, a column for each stream."""
    rows = {name: _row(report, name) for name in _models(report)}
    fig = make_subplots(
        rows=len(rows),
        cols=len(STREAMS),
        column_titles=[TITLES[s] for s in STREAMS],
        row_titles=list(rows),
        shared_xaxes=True,
        shared_yaxes=True,
        vertical_spacing=0.16 / len(rows),
        horizontal_spacing=0.025,
    )
    parts = [
        f"{r.value:.0%} in {name}{'' if significant(r) else ' (no more than its control)'}"
        for name, r in rows.items()
    ]
    title = f"At the best layer and stream the lens reads {listed(parts)}"
    n = next(iter(rows.values())).n
    lay_out(fig, title, _caption(report, n), height=60 + 150 * len(rows))
    for i, row in enumerate(rows.values()):
        for j, stream in enumerate(STREAMS):
            place = {"row": i + 1, "col": j + 1}
            _panel(fig, report, row, stream, i == j == 0, place)
    fig.update_xaxes(title="layer", row=len(rows))
    return _axes(fig)


def _row(report: Report, unlearned: str) -> Row:
    """Of several read-outs the one that reads most."""
    return max(_about(report, unlearned), key=lambda r: r.value)


def _models(report: Report) -> list[str]:
    return [label for label in attacked(report) if _about(report, label)]


def _caption(report: Report, n: int) -> str:
    return (
        f"Forget questions of the confirm fold, n = {n}; bands are 95 % intervals. Lines: chance "
        f"{report.runcard.task.chance:.2f} (dotted), the original's own answers "
        f"{original(report).value:.2f} (solid). Title: the place that "
        "the select fold chose."
    )


def _axes(fig: go.Figure) -> go.Figure:
    fig.update_yaxes(range=[0, 1.05])
    fig.update_yaxes(title="accuracy", col=1)
    fig.update_xaxes(tickformat="d")
    return small_headings(fig)


def _panel(
    fig: go.Figure, report: Report, row: Row, stream: Stream, legend: bool, place: Place
) -> None:
    findings = report.findings_of(row.model)
    for arm, label in LABELS.items():
        trace = findings.trace(LensTrace, row.attack, arm)
        if trace is None:
            continue
        look = LOOKS[arm]
        places = [p for p in trace.places if p.stream == stream]
        layers = [p.layer for p in places]
        low, high = ([p.value_ci[i] for p in places] for i in (0, 1))
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
            y=[p.value for p in places],
            name=label,
            mode="lines+markers",
            showlegend=legend,
            legendgroup=arm,
            line={"color": look.colour, "dash": look.dash},
            marker={"symbol": look.marker, "size": 8},
            customdata=[p.value_ci for p in places],
            hovertemplate="layer %{x}<br>accuracy %{y:.3f} [%{customdata[0]:.3f}, "
            "%{customdata[1]:.3f}]<extra></extra>",
            **place,
        )
    level(fig, report.runcard.task.chance, "chance", "y", **place)
    level(fig, original(report).value, "original", "y", **place)


FIGURE = Figure(kind="lens", explains=EXPLAINS, draw=lens, about=_about)
BY_METHOD = Figure(
    kind="lens_by_method",
    explains=EXPLAINS,
    draw=lens_by_method,
    per_model=False,
    needs=lambda report, _: len(_models(report)) > 1,
)
