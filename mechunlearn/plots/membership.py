"""Whether likelihood alone tells the forget facts from made-up ones, in every model."""

import plotly.graph_objects as go

from mechunlearn.analysis.records import Model
from mechunlearn.analysis.report import Report
from mechunlearn.plots.figure import Figure
from mechunlearn.plots.template import LINE, LOOKS, error_bars, lay_out, listed

ROLES = ("original", "unlearned", "never_knew", "control")
MARKERS = ("circle-open", "triangle-up", "star", "hexagon", "pentagon")
"""Of several unlearned models, which share a colour."""


def membership(report: Report) -> go.Figure:
    """AUC of each score, a row each; models beside each other."""
    models = _models(report)
    scores = list(dict.fromkeys(s.score for m in models for s in m.membership))
    fig = go.Figure()
    parts = [f"{next(s.auc for s in m.membership):.2f} in {m.label}" for m in models]
    first = models[0].membership[0].score
    title = f"By {first} alone, forget facts are told from made-up ones with AUC {listed(parts)}"
    caption = (
        f"Area under the ROC curve over facts as statements, n = {models[0].sets['forget'].n} "
        "forget questions of the confirm fold against twin questions; 0.5 is no difference, below "
        "it the forget facts look less known than made-up ones. Reference: the loss beyond the "
        "original's. Bars: 95 % intervals over sources."
    )
    lay_out(fig, title, caption, height=60 + 26 * len(scores) * len(models))
    unlearned = [m.label for m in models if m.role == "unlearned"]
    for i, model in enumerate(models):
        look = LOOKS["never_knew" if model.role == "control" else model.role]
        marker = look.marker
        if model.label in unlearned:
            marker = MARKERS[unlearned.index(model.label) % len(MARKERS)]
        values = [s.auc for s in model.membership]
        at = 0.7 * ((i + 0.5) / len(models) - 0.5)
        fig.add_scatter(
            x=values,
            y=[scores.index(s.score) + at for s in model.membership],
            name=model.label,
            mode="markers",
            marker={"color": look.colour, "symbol": marker, "size": 9},
            error_x=error_bars(
                values, [s.auc_ci for s in model.membership], color=look.colour, thickness=1.3
            ),
            customdata=[[s.score, *s.auc_ci] for s in model.membership],
            hovertemplate=f"{model.label}, %{{customdata[0]}}<br>AUC %{{x:.3f}} "
            "[%{customdata[1]:.3f}, %{customdata[2]:.3f}]<extra></extra>",
        )
    fig.add_vline(x=0.5, line={"color": LINE, "dash": "dot", "width": 1.3})
    fig.update_xaxes(title="AUC", range=[-0.02, 1.02])
    ticks = list(range(len(scores)))
    fig.update_yaxes(tickvals=ticks, ticktext=scores, range=[len(scores) - 0.5, -0.5])
    return fig


def _models(report: Report) -> list[Model]:
    """Models with scores, by role."""
    found = [m for m in report.models if m.membership and m.role in ROLES]
    return sorted(found, key=lambda m: ROLES.index(m.role))


FIGURE = Figure(
    kind="membership",
    explains="Whether likelihood alone tells the forget facts from made-up ones.",
    draw=membership,
    per_model=False,
    needs=lambda report, _: bool(_models(report)),
)
