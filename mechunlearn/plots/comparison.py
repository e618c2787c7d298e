"""Every attack on every unlearned model: the main comparison of Łucki et al. as a figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.analysis.report import Report
from mechunlearn.analysis.significance import able, hits
from mechunlearn.plots.figure import Figure, Place, attacked, control, forget, original
from mechunlearn.plots.template import (
    LOOKS,
    bounds,
    error_bars,
    lay_out,
    level,
    listed,
    small_headings,
)
from mechunlearn.plots.template import spaced as words
from mechunlearn.records import Interval

ACROSS = 3
"""Panels in a row."""
NONE = "no attack"


def comparison(report: Report) -> go.Figure:
    """A panel for each unlearned model: accuracy without and under every attack, and its control's.

    Settings of each attack were chosen on the select fold; the accuracies are the confirm fold's.
    """
    models = attacked(report)
    attacks = list(dict.fromkeys(r.attack for r in report.rows))
    down, across = -(-len(models) // ACROSS), min(ACROSS, len(models))
    fig = make_subplots(
        rows=down,
        cols=across,
        subplot_titles=list(models),
        shared_yaxes=True,
        horizontal_spacing=0.04,
        vertical_spacing=0.34 / (down * max(1, len(attacks) // 4)),
    )
    chance, before = report.runcard.task.chance, original(report)
    caption = (
        f"Forget questions of the confirm fold, n = {before.n}; bars are 95 % intervals. "
        f"Lines: chance {chance:.2f} (dotted), original {before.value:.2f} (solid)."
    )
    height = down * (50 + 30 * (len(attacks) + 1))
    lay_out(fig, _title(report, models), caption, height=height)
    names = [NONE, *map(words, attacks)]
    shown: set[str] = set()
    for panel, model in enumerate(models):
        place = {"row": panel // ACROSS + 1, "col": panel % ACROSS + 1}
        for series in _series(report, model):
            _dots(fig, series, names, series.label not in shown, place)
            shown.add(series.label)
        level(fig, chance, "chance", "x", **place)
        level(fig, before.value, "original", "x", **place)
    fig.update_xaxes(range=[0, 1.05], tickvals=[0, 0.5, 1])
    fig.update_xaxes(title="accuracy", row=down)
    fig.update_yaxes(
        tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.5, -0.5]
    )
    return small_headings(fig)


@dataclass(frozen=True, slots=True)
class _Series:
    """What one panel shows of one role: a value for each named row, and its interval if known."""

    role: str
    label: str
    values: Mapping[str, tuple[float, Interval | None]]
    off: float = -0.14
    """How far below the row's middle it is drawn."""


def _series(report: Report, model: str) -> tuple[_Series, ...]:
    rows, before = report.rows_of(model), forget(report, model)
    unlearned = _Series("unlearned", "unlearned", {NONE: (before.value, before.value_ci)})
    values = {words(r.attack): (r.value, r.value_ci) for r in rows}
    beside: dict[str, tuple[float, Interval | None]]
    if rows[0].control is None:
        beside = {words(r.attack): (r.sham, r.sham_ci) for r in rows}
        controls = _Series("sham", "sham attack", beside, 0.14)
    else:
        beside = {words(r.attack): (r.control, r.control_ci) for r in rows if r.control is not None}
        if (unattacked := control(report, model)) is not None:
            beside[NONE] = (unattacked.value, unattacked.value_ci)
        controls = _Series("never_knew", "never-knew model, treated alike", beside, 0.14)
    return controls, unlearned, _Series("attacked", "unlearned, attacked", values)


def _dots(
    fig: go.Figure, series: _Series, names: Sequence[str], legend: bool, place: Place
) -> None:
    look, values = LOOKS[series.role], series.values
    x, intervals = zip(*values.values(), strict=True)
    fig.add_scatter(
        x=x,
        y=[names.index(name) + series.off for name in values],
        error_x=error_bars(x, intervals, color=look.colour, width=0, thickness=1.6),
        mode="markers",
        name=series.label,
        legendgroup=series.role,
        showlegend=legend,
        marker={"color": look.colour, "symbol": look.marker, "size": 9},
        customdata=[[name, bounds(ci)] for name, ci in zip(values, intervals, strict=True)],
        hovertemplate="%{customdata[0]}<br>accuracy %{x:.3f}%{customdata[1]}<extra>"
        + series.label
        + "</extra>",
        **place,
    )


def _title(report: Report, models: Sequence[str]) -> str:
    rows = {m: report.rows_of(m) for m in models}
    found = {m: len(hits(rows[m])) for m in models}
    if not any(found.values()):
        return f"No attack brings back more than its control from any of {len(models)} models"
    counts = [f"{found[m]} of {len(able(rows[m]))} from {m}" for m in models]
    return f"Attacks that bring answers back: {listed(counts)}"


FIGURE = Figure(
    kind="comparison",
    explains="Every unlearned model under every attack, beside its control.",
    draw=comparison,
    per_model=False,
    needs=lambda report, _: len(attacked(report)) > 1,
)
