"""What can be read after each block, by every read-out on one axis: a panel for each model."""

from collections.abc import Iterator, Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.analysis.records import Arm
from mechunlearn.analysis.report import Report
from mechunlearn.attacks.depth import DepthCurve, DepthTrace
from mechunlearn.plots.figure import Figure, Place, traced
from mechunlearn.plots.lens import LABELS
from mechunlearn.plots.template import LEVELS, LINE, lay_out, listed, small_headings

COLOURS = ("#0072B2", "#555555", "#D55E00", "#009E73", "#CC79A7")
"""Of the curves, in the order in which attacks leave them; later ones begin again."""
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "star")
AXIS = (-0.2, 1.2)
"""What lies beyond is drawn at the edge; the hover text has its number."""
_about = traced(DepthTrace)


def depth(report: Report, unlearned: str) -> go.Figure:
    """Share of the answers that each read-out finds after each block."""
    panels = {arm: list(_curves(report, unlearned, arm)) for arm in LABELS}
    panels = {arm: curves for arm, curves in panels.items() if curves}
    headings: dict[Arm, str] = LABELS | {"unlearned": unlearned}
    fig = make_subplots(
        rows=1,
        cols=len(panels),
        subplot_titles=[headings[arm] for arm in panels],
        shared_yaxes=True,
        horizontal_spacing=0.03,
    )
    caption = (
        "0 is what is read where there is nothing, 1 is everything. Lenses and probes: right "
        f"answers, confirm fold, n = {report.rows_of(unlearned)[0].n}; of a probe what it reads "
        "beyond shuffled labels and scrambled weights. Original's lens and exchanged states "
        "(dashed): log-probability of the answers, select fold. Bands are 95 % intervals."
    )
    lay_out(fig, _title(panels, unlearned), caption, height=330)
    names = dict.fromkeys(curve.name for curves in panels.values() for curve in curves)
    shown: set[str] = set()
    for column, curves in enumerate(panels.values(), start=1):
        for curve in curves:
            look = list(names).index(curve.name)
            _draw(fig, curve, look, curve.name not in shown, {"row": 1, "col": column})
            shown.add(curve.name)
    for at in (0, 1):
        line = {"color": LINE, "dash": LEVELS["chance" if at == 0 else "original"], "width": 1}
        fig.add_hline(y=at, line=line)
    fig.update_xaxes(title="after block", tickformat="d")
    fig.update_yaxes(range=list(AXIS))
    fig.update_yaxes(title="share of the answers", tickformat=".0%", col=1)
    return small_headings(fig)


def _curves(report: Report, unlearned: str, arm: Arm) -> Iterator[DepthCurve]:
    """What is drawn of one model; some of the unlearned model's was measured in the original."""
    findings = report.findings_of(unlearned)
    arms: tuple[Arm, ...] = (arm, "original") if arm == "unlearned" else (arm,)
    for row in report.rows_of(unlearned):
        for where in arms:
            trace = findings.trace(DepthTrace, row.attack, where)
            for curve in () if trace is None else trace.curves:
                wanted = curve.of_unlearned == (arm == "unlearned" and where != arm)
                if wanted and curve.kind != "detail" and curve.layers:
                    yield curve


def _title(panels: Mapping[Arm, list[DepthCurve]], unlearned: str) -> str:
    """What each read-out finds at its best layer."""
    best = {c.name: max(c.shares) for c in panels["unlearned"] if c.kind == "read"}
    if not best:
        return f"What exchanged states do to the answers of {unlearned}, block by block"
    parts = listed([f"{name} {max(share, 0):.0%}" for name, (share, _) in best.items()])
    if all(low <= 0 for _, (low, _) in best.values()):
        return f"No read-out finds the answers in {unlearned} for certain, at any layer: {parts}"
    return f"Share of the answers that read-outs find in {unlearned} at their best layers: {parts}"


def _draw(fig: go.Figure, curve: DepthCurve, look: int, legend: bool, place: Place) -> None:
    colour, marker = COLOURS[look % len(COLOURS)], MARKERS[look % len(MARKERS)]
    layers, shares = list(curve.layers), curve.shares
    low, high = ([ci[i] for _, ci in shares] for i in (0, 1))
    fig.add_scatter(
        x=layers + layers[::-1],
        y=_on_axis(high + low[::-1]),
        fill="toself",
        line={"width": 0},
        fillcolor=colour,
        opacity=0.12,
        hoverinfo="skip",
        showlegend=False,
        mode="lines",
        **place,
    )
    fig.add_scatter(
        x=layers,
        y=_on_axis([share for share, _ in shares]),
        name=curve.name,
        mode="lines+markers",
        showlegend=legend,
        legendgroup=curve.name,
        line={"color": colour, "dash": "dash" if curve.kind == "exchange" else "solid"},
        marker={"symbol": marker, "size": 7},
        customdata=[
            [share, value, *ci]
            for (share, _), value, ci in zip(shares, curve.values, curve.value_cis, strict=True)
        ],
        hovertemplate=f"{curve.name}, layer %{{x}}<br>%{{customdata[0]:.0%}} of everything; "
        "measured %{customdata[1]:.3f} [%{customdata[2]:.3f}, %{customdata[3]:.3f}]"
        "<extra></extra>",
        **place,
    )


def _on_axis(values: Sequence[float]) -> list[float]:
    return [min(max(value, AXIS[0]), AXIS[1]) for value in values]


FIGURE = Figure(
    kind="depth",
    explains="How much of the answers each read-out finds after each block, on one axis.",
    draw=depth,
    needs=lambda report, model: bool(_about(report, model)),
)
