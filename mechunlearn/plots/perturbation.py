"""What changed prompts bring back: every kind tried, at its best."""

import plotly.graph_objects as go

from mechunlearn.plots.template import LOOKS, lay_out
from mechunlearn.types import Report

FAMILIES = ("perturbation_naive", "perturbation_informed", "jailbreak")
KIND = {"perturbation_naive": "kind", "perturbation_informed": "change", "jailbreak": "template"}
"""The setting that names a variant."""
SHOWN = 16
"""Bars drawn at most: the highest."""


def perturbation(report: Report, unlearned: str) -> go.Figure:
    """The highest bars of select-fold accuracy by kind of change, at each kind's best setting."""
    tried = report.details[unlearned]["tried"]
    best: dict[str, float] = {}
    for family in (f for f in FAMILIES if f in tried):
        for s in tried[family]:
            name = f"{family.removeprefix('perturbation_')}: {s[KIND[family]]}"
            best[name] = max(best.get(name, 0.0), s["forget_select"])
    rows = {
        r["attack"]: r
        for r in report.rows
        if r["unlearned"] == unlearned and r["attack"] in FAMILIES
    }
    top = max(rows.values(), key=lambda r: r["accuracy"])
    before = report.baselines[unlearned]["forget"]["accuracy"]
    chance = report.runcard["task"]["chance"]
    what = "Jailbreaks" if top["attack"] == "jailbreak" else "Changed prompts"
    title = f"{what} take {unlearned} from {before:.0%} to {top['accuracy']:.0%}"
    title += f"; their sham reaches {top['sham_accuracy']:.0%}"
    caption = (
        "Forget questions of the select fold; each kind at its best, so the highest of many "
        f"bars is high by chance too. Title: confirm fold, n = {top['n']}. Lines: chance "
        f"{chance:.2f} (dotted), {unlearned} {before:.2f} (dashed)."
    )
    names = sorted(best, key=lambda k: best[k])[-SHOWN:]
    fig = lay_out(go.Figure(), title, caption, height=60 + 18 * len(names))
    fig.add_bar(
        x=[best[k] for k in names],
        y=names,
        orientation="h",
        marker={"color": LOOKS["attacked"].colour},
        name=f"{unlearned}, asked differently",
        hovertemplate="%{y}<br>accuracy %{x:.3f}<extra></extra>",
    )
    for x, dash in ((chance, "dot"), (before, "dash")):
        fig.add_vline(x=x, line={"color": "#777777", "dash": dash, "width": 1.3})
    fig.update_xaxes(title="accuracy", range=[0, 1.03])
    fig.update_yaxes(tickfont={"size": 11}, ticktext=names, tickvals=names)
    return fig
