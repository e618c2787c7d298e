"""Accuracy under every attack, beside its controls: the audit in one picture."""

import plotly.graph_objects as go

from mechunlearn.plots.template import LOOKS, lay_out
from mechunlearn.types import Report


def recovery(report: Report, unlearned: str) -> go.Figure:
    """Dots with 95 % intervals: attacked, sham, never-knew and ceiling for each attack."""
    rows = [r for r in report.rows if r["unlearned"] == unlearned]
    best = max(rows, key=lambda r: r["difference"])
    names = [r["attack"].replace("_", " ") for r in rows]
    forget = {m: report.baselines[m]["forget"]["accuracy"] for m in ("original", unlearned)}
    chance = report.runcard["task"]["chance"]
    caption = (
        f"Forget questions of the confirm fold, n = {best['n']}; bars are 95 % intervals. Lines: "
        f"chance {chance:.2f} (dotted), {unlearned} {forget[unlearned]:.2f} (dashed), "
        f"original {forget['original']:.2f} (solid)."
    )
    fig = lay_out(go.Figure(), _title(best, unlearned), caption, height=60 + 80 * len(rows))
    series = [
        ("attacked", "accuracy", -0.24, f"{unlearned}, attacked"),
        ("sham", "sham_accuracy", 0.0, "sham attack on it"),
        ("ceiling", "original_accuracy", 0.24, LOOKS["ceiling"].label),
    ]
    if any(r["control"] == "never_knew" for r in rows):
        series.insert(2, ("never_knew", "control_accuracy", 0.12, "never-knew model, attacked"))
    for role, key, offset, label in series:
        look = LOOKS[role]
        error = None
        if role == "attacked":
            error = {
                "type": "data",
                "symmetric": False,
                "array": [r["accuracy_ci"][1] - r["accuracy"] for r in rows],
                "arrayminus": [r["accuracy"] - r["accuracy_ci"][0] for r in rows],
                "color": look.colour,
            }
        fig.add_scatter(
            x=[r[key] for r in rows],
            y=[i + offset for i in range(len(rows))],
            error_x=error,
            mode="markers",
            name=label,
            marker={"color": look.colour, "symbol": look.marker, "size": 11},
            text=names,
            hovertemplate="%{text}<br>accuracy %{x:.3f}<extra>" + label + "</extra>",
        )
    for x, dash in (
        (chance, "dot"),
        (forget[unlearned], "dash"),
        (forget["original"], "solid"),
    ):
        fig.add_vline(x=x, line={"color": "#777777", "dash": dash, "width": 1.3})
    fig.update_xaxes(title="accuracy", range=[0, 1.03])
    fig.update_yaxes(
        tickvals=list(range(len(rows))), ticktext=names, range=[len(rows) - 0.5, -0.5], title=None
    )
    return fig


def _title(best: dict[str, object], unlearned: str) -> str:
    attack = str(best["attack"]).replace("_", " ")
    attack = attack[0].upper() + attack[1:]
    share, ci = best["recovery"], best["recovery_ci"]
    if not isinstance(share, float) or not isinstance(ci, list):
        return f"{unlearned}: no measurable gap to recover"
    if float(str(best["p_holm"])) >= 0.05:
        return f"No attack on {unlearned} brings back more than its control"
    return f"{attack} brings back {share:.0%} [{ci[0]:.0%}, {ci[1]:.0%}] of what {unlearned} hid"
