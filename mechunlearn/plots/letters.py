"""Which letter a model says to which right letter: preference for letters, and renamed letters."""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.analysis.records import Report
from mechunlearn.plots.template import SCALE, lay_out, listed, small_headings, spaced
from mechunlearn.types import LETTERS

ACROSS = 3
"""Panels in a row."""


def letters(report: Report) -> go.Figure:
    """A panel for each model: of the questions with one right letter, the share of each answer.

    Needs ``details["said"]``: model -> counts ``[right letter][said letter, then exact ties]``.
    """
    said = report.details["said"]
    down, across = -(-len(said) // ACROSS), min(ACROSS, len(said))
    fig = make_subplots(
        rows=down,
        cols=across,
        subplot_titles=[spaced(model) for model in said],
        shared_yaxes=True,
        horizontal_spacing=0.05,
        vertical_spacing=0.3 / down,
    )
    n = sum(map(sum, next(iter(said.values()))))
    chance = report.runcard["task"]["chance"]
    caption = (
        f"Forget questions of the confirm fold without any attack, n = {n} for each model; numbers "
        f"count questions. Right answers lie on the diagonal; by chance {chance:.0%} of each row "
        "does, and a column that is dark all along is a letter said to everything."
    )
    lay_out(fig, _title(report), caption, height=210 * down)
    for panel, counts in enumerate(said.values()):
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
            row=panel // ACROSS + 1,
            col=panel % ACROSS + 1,
        )
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


def _title(report: Report) -> str:
    models = list(dict.fromkeys(r["unlearned"] for r in report.rows))
    parts = []
    for model in models:
        counts = report.details["said"][model]
        columns = [sum(row[i] for row in counts) for i in range(len(counts))]
        most = max(range(len(columns)), key=columns.__getitem__)
        share = columns[most] / sum(map(sum, counts))
        parts.append(f"{model} says {LETTERS[most]} to {share:.0%}")
    chance = 1 / len(report.details["said"]["original"])
    return f"{listed(parts)} of the questions; {chance:.0%} would be even"
