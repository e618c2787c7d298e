"""Which attacks answer the same questions: an UpSet figure of what each set of attacks recovers."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.analysis.records import Overlap
from mechunlearn.analysis.report import Report
from mechunlearn.analysis.significance import counts
from mechunlearn.plots.figure import Figure
from mechunlearn.plots.template import LOOKS, lay_out, spaced

SHOWN = 15
"""Sets drawn; the smallest are left out."""


def overlap(report: Report, unlearned: str) -> go.Figure:
    """Lost questions by the exact set of attacks that answer them (Lex et al. 2014)."""
    union, rows = report.findings_of(unlearned).union, report.rows_of(unlearned)
    assert union is not None
    sets = union.overlap[:SHOWN]
    drawn = {name for each in sets for name in each.attacks}  # Of old reports all attacks.
    attacks = [r.attack for r in rows if counts(r) or r.attack in drawn]
    total = {a: sum(s.n for s in union.overlap if a in s.attacks) for a in attacks}
    n, nobody = rows[0].n, len(union.never)
    title = (
        f"{len(attacks)} attacks together answer {union.value:.0%}, on the control "
        f"{union.control:.0%}; {nobody} lost questions are answered by none"
    )
    caption = (
        f"The {union.n_lost} forget questions of the confirm fold (n = {n}) that the original "
        f"answers and {unlearned} does not, by the attacks that "
        "answer them (dots below); beside a name: all that this attack answers."
    )
    fig = make_subplots(
        rows=2, cols=1, shared_xaxes=True, row_heights=[0.55, 0.45], vertical_spacing=0.03
    )
    lay_out(fig, title, caption, height=240 + 26 * len(attacks))
    _bars(fig, sets)
    _dots(fig, sets, attacks)
    fig.update_yaxes(title="questions", row=1, col=1)
    fig.update_yaxes(
        tickvals=list(range(len(attacks))),
        ticktext=[f"{spaced(name)}: {total[name]}" for name in attacks],
        range=[len(attacks) - 0.5, -0.5],
        row=2,
        col=1,
    )
    fig.update_xaxes(showticklabels=False)
    fig.update_xaxes(title="sets of attacks, the largest first", row=2, col=1)
    return fig


def _bars(fig: go.Figure, sets: Sequence[Overlap]) -> None:
    fig.add_bar(
        x=list(range(len(sets))),
        y=[s.n for s in sets],
        text=[s.n for s in sets],
        textposition="outside",
        cliponaxis=False,
        hovertext=[" and ".join(map(spaced, s.attacks)) or "none" for s in sets],
        hovertemplate="%{y} questions, answered under<br>%{hovertext}<extra></extra>",
        marker={"color": [LOOKS["attacked" if s.attacks else "unlearned"].colour for s in sets]},
        showlegend=False,
        row=1,
        col=1,
    )


def _dots(fig: go.Figure, sets: Sequence[Overlap], attacks: Sequence[str]) -> None:
    for i, each in enumerate(sets):
        at = [attacks.index(name) for name in each.attacks]
        fig.add_scatter(
            x=[i] * len(at),
            y=at,
            mode="lines+markers",
            marker={"color": LOOKS["attacked"].colour, "size": 10},
            hoverinfo="skip",
            showlegend=False,
            row=2,
            col=1,
        )


def _needs(report: Report, unlearned: str) -> bool:
    union = report.findings_of(unlearned).union
    return union is not None and len(union.overlap) > 1


FIGURE = Figure(
    kind="overlap",
    explains="Every lost question by the exact set of attacks that answer it.",
    draw=overlap,
    overview=True,
    needs=_needs,
)
