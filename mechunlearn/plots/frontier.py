"""What a recovery costs: every attack against four prices, with those that no other beats."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.analysis.records import Row, Spent
from mechunlearn.analysis.report import Report
from mechunlearn.analysis.significance import counts
from mechunlearn.plots.figure import Figure, Place, forget, original
from mechunlearn.plots.template import LOOKS, error_bars, lay_out, level, spaced


@dataclass(frozen=True, slots=True)
class _Price:
    unit: str
    of: Callable[[Spent], float]
    powers: bool = True
    """Whether it is drawn on a logarithmic axis."""


PRICES = (
    _Price("arithmetic (FLOP)", lambda s: s.flops),
    _Price("examples trained on", lambda s: s.samples),
    _Price("tokens of forget information", lambda s: s.forget_tokens),
    _Price("retain accuracy lost (points)", lambda s: 100 * s.utility_loss, powers=False),
)


def frontier(report: Report, unlearned: str) -> go.Figure:
    """Recovered accuracy, net of the control, against each price; two by two panels."""
    entries = report.findings_of(unlearned).spent
    rows = {r.attack: r for r in report.rows_of(unlearned)}
    able = {attack for attack, row in rows.items() if counts(row)}
    before = original(report)
    gap = before.value - forget(report, unlearned).value
    fig = make_subplots(
        rows=2,
        cols=2,
        shared_yaxes=True,
        vertical_spacing=0.16,
        horizontal_spacing=0.05,
    )
    caption = (
        "Accuracy on forget questions that an attack adds, net of its control, with 95 % "
        f"intervals; confirm fold, n = {before.n}. Named attacks are beaten by no other in all "
        "prices at once, and can show that the model knew. Lines: nothing (dotted), the whole gap "
        "(solid); steps: the most for a price."
    )
    lay_out(fig, _title(report, unlearned), caption, height=560)
    for panel, price in enumerate(PRICES):
        place = {"row": panel // 2 + 1, "col": panel % 2 + 1}
        prices = [float(price.of(e)) for e in entries]
        xs = [_position(price, value) for value in prices]
        counted = [(x, e.difference) for x, e in zip(xs, entries, strict=True) if e.attack in able]
        _steps(fig, sorted(counted), place)
        for best in (False, True):
            chosen = [(x, e) for x, e in zip(xs, entries, strict=True) if e.pareto is best]
            if chosen:
                _points(fig, chosen, rows, best, (min(xs) + max(xs)) / 2, panel == 0, place)
        level(fig, 0.0, "chance", "y", **place)
        level(fig, gap, "original", "y", **place)
        _axis(fig, price, prices, xs, place)
        fig.update_xaxes(title=price.unit, **place)
    low, high = zip(*(r.difference_ci for r in rows.values()), strict=True)
    fig.update_yaxes(range=[min(-0.1, *low) - 0.02, max(gap, *high) + 0.06])
    fig.update_yaxes(title="accuracy recovered", col=1)
    return fig


def _position(price: _Price, value: float) -> float:
    """Where a price is drawn: logarithms, with 0 one step before 1."""
    if not price.powers:
        return value
    return math.log10(value) if value >= 1 else -1.0


def _axis(
    fig: go.Figure, price: _Price, values: list[float], xs: list[float], place: Place
) -> None:
    low, high = min(xs), max(xs)
    room = max(0.22 * (high - low), 0.5)
    fig.update_xaxes(range=[low - room, high + room], **place)
    if not price.powers:
        fig.update_xaxes(ticksuffix="", **place)
        return
    powers = [i for i in range(math.floor(low), math.ceil(high) + 1) if i >= 0]
    step = max(1, len(powers) // 5)
    ticks = powers[::step] + ([-1] if min(values) < 1 else [])
    fig.update_xaxes(
        tickvals=ticks,
        ticktext=["0" if t < 0 else f"{10**t:,}" if t < 4 else f"10<sup>{t}</sup>" for t in ticks],
        **place,
    )


def _steps(fig: go.Figure, points: list[tuple[float, float]], place: Place) -> None:
    best, x, y = 0.0, [], []
    for price, gain in points:
        if gain > best:
            best = gain
            x.append(price)
            y.append(gain)
    if x:
        x.append(points[-1][0])
        y.append(best)
    fig.add_scatter(
        x=x,
        y=y,
        mode="lines",
        line={"shape": "hv", "color": LOOKS["attacked"].colour, "width": 1, "dash": "dot"},
        hoverinfo="skip",
        showlegend=False,
        **place,
    )


def _points(
    fig: go.Figure,
    chosen: Sequence[tuple[float, Spent]],
    rows: Mapping[str, Row],
    best: bool,
    middle: float,
    legend: bool,
    place: Place,
) -> None:
    look = LOOKS["attacked"]
    gains = [e.difference for _, e in chosen]
    intervals = [rows[e.attack].difference_ci for _, e in chosen]
    label = "not beaten" if best else "beaten by another, or nothing back"
    if not all(counts(rows[e.attack]) for _, e in chosen):
        label += ", or does not count"
    fig.add_scatter(
        x=[x for x, _ in chosen],
        y=gains,
        error_y=error_bars(gains, intervals, color=look.colour, width=0, thickness=1.2),
        mode="markers+text" if best else "markers",
        text=[spaced(e.attack) for _, e in chosen],
        textposition=["top left" if x > middle else "top right" for x, _ in chosen],
        textfont={"size": 11},
        name=label,
        legendgroup=label,
        showlegend=legend,
        marker={
            "color": look.colour,
            "symbol": look.marker if best else "circle-open",
            "size": 10 if best else 8,
        },
        customdata=[
            [e.flops, e.samples, e.forget_tokens, 100 * e.utility_loss, *ci]
            for (_, e), ci in zip(chosen, intervals, strict=True)
        ],
        hovertemplate="%{text}<br>%{y:.3f} [%{customdata[4]:.3f}, %{customdata[5]:.3f}] "
        "recovered<br>%{customdata[0]:.2g} FLOP, %{customdata[1]} examples, %{customdata[2]} "
        "forget tokens, %{customdata[3]:.1f} points of retain accuracy<extra></extra>",
        **place,
    )


def _title(report: Report, unlearned: str) -> str:
    findings = report.findings_of(unlearned)
    half = next((s for s in findings.spent if s.attack == findings.cheapest_half), None)
    if half is None:
        if any(s.pareto for s in findings.spent):
            return f"No attack brings half of the gap of {unlearned} back at any price tried"
        return f"No attack brings anything measurable back from {unlearned}, at any price tried"
    return (
        f"The cheapest half of {unlearned}'s gap: {spaced(half.attack)}, {half.flops:.1e} "
        f"FLOP, {half.samples} examples, {half.forget_tokens} tokens of forget facts"
    )


FIGURE = Figure(
    kind="frontier",
    explains="Recovered accuracy against each price of an attack.",
    draw=frontier,
    overview=True,
    needs=lambda report, unlearned: bool(report.findings_of(unlearned).spent),
)
