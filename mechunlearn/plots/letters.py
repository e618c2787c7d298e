"""Which letter a model says to which right letter: preference for letters, and renamed letters."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.analysis.report import Report
from mechunlearn.plots.figure import Figure, Place, attacked
from mechunlearn.plots.template import SCALE, lay_out, listed, small_headings
from mechunlearn.types import LETTERS

Counts: TypeAlias = tuple[tuple[int, ...], ...]
"""Questions by right letter (row) and letter said (column, exact ties last)."""
ACROSS = 3
"""Panels in a row."""


def letters(report: Report) -> go.Figure:
    """A panel for each model: of the questions with one right letter, the share of each answer."""
    tables = {m.label: m.letters for m in report.models if m.letters is not None}
    down, across = -(-len(tables) // ACROSS), min(ACROSS, len(tables))
    fig = make_subplots(
        rows=down,
        cols=across,
        subplot_titles=list(tables),
        shared_yaxes=True,
        horizontal_spacing=0.05,
        vertical_spacing=0.3 / down,
    )
    n = sum(map(sum, next(iter(tables.values()))))
    chance = report.runcard.task.chance
    caption = (
        f"Forget questions of the confirm fold without any attack, n = {n} for each model; numbers "
        f"count questions. Right answers lie on the diagonal; by chance {chance:.0%} of each row "
        "does, and a column that is dark all along is a letter said to everything."
    )
    lay_out(fig, _title(tables, attacked(report)), caption, height=210 * down)
    for panel, counts in enumerate(tables.values()):
        _table(fig, counts, {"row": panel // ACROSS + 1, "col": panel % ACROSS + 1})
    fig.update_layout(
        coloraxis={
            "colorscale": SCALE,
            "cmin": 0,
            "cmax": 1,
            "colorbar": {"title": "share of row", "thickness": 12, "tickformat": ".0%"},
        }
    )
    fig.update_yaxes(autorange="reversed", showgrid=False)
    fig.update_xaxes(showgrid=False)
    fig.update_yaxes(title="right letter", col=1)
    fig.update_xaxes(title="letter said", row=down)
    return small_headings(fig)


def _table(fig: go.Figure, counts: Counts, place: Place) -> None:
    ties = any(row[-1] for row in counts)
    shown = [row if ties else row[:-1] for row in counts]
    fig.add_heatmap(
        z=[[x / (sum(row) or 1) for x in row] for row in shown],
        x=[*LETTERS[: len(counts)], *(["tie"] if ties else [])],
        y=list(LETTERS[: len(counts)]),
        customdata=shown,
        text=shown,
        texttemplate="%{text}",
        coloraxis="coloraxis",
        hovertemplate="right: %{y}, said: %{x}<br>%{customdata} questions, %{z:.1%} of those "
        "with this right letter<extra></extra>",
        **place,
    )


def _title(tables: Mapping[str, Counts], models: Sequence[str]) -> str:
    parts = []
    for counts, model in ((tables[m], m) for m in models if m in tables):
        columns = [sum(row[i] for row in counts) for i in range(len(counts))]
        most = max(range(len(columns)), key=columns.__getitem__)
        share = columns[most] / sum(map(sum, counts))
        parts.append(f"{model} says {LETTERS[most]} to {share:.0%}")
    chance = 1 / len(next(iter(tables.values())))
    return f"{listed(parts)} of the questions; {chance:.0%} would be even"


FIGURE = Figure(
    kind="letters",
    explains="Predicted against right letters, without any attack.",
    draw=letters,
    per_model=False,
    needs=lambda report, _: any(report.model(m).letters is not None for m in attacked(report)),
)
