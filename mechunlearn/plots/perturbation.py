"""What changed prompts bring back: every kind tried, at its best."""

import plotly.graph_objects as go

from mechunlearn.audit.verdict import significant
from mechunlearn.plots.template import LOOKS, error_bars, lay_out, level
from mechunlearn.stats import wilson
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
    original = report.baselines["original"]["forget"]["accuracy"]
    what = "Jailbreaks" if top["attack"] == "jailbreak" else "Changed prompts"
    title = f"{what} take {unlearned} from {before:.0%} to {top['accuracy']:.0%}"
    if not any(map(significant, rows.values())):
        title = f"No change of the prompt moves {unlearned} beyond its control: {before:.0%} to "
        title += f"{top['accuracy']:.0%}"
    title += f"; the sham reaches {top['sham_accuracy']:.0%}"
    n = report.runcard["task"]["n"]["forget, select"]
    caption = (
        f"Forget questions of the select fold, n = {n}, with 95 % intervals; each kind at its "
        f"best, so the highest is high by chance too. Title: confirm fold, n = {top['n']}. Lines: "
        f"chance {chance:.2f} (dotted), {unlearned} {before:.2f} (dashed), original "
        f"{original:.2f} (solid)."
    )
    names = sorted(best, key=lambda k: best[k])[-SHOWN:]
    fig = lay_out(go.Figure(), title, caption, height=60 + 18 * len(names))
    x = [best[k] for k in names]
    intervals = [wilson(round(v * n), n) for v in x]
    fig.add_bar(
        x=x,
        y=names,
        orientation="h",
        error_x=error_bars(x, intervals, color="#1b1b1b", width=0, thickness=1),
        marker={"color": LOOKS["attacked"].colour},
        name=f"{unlearned}, asked differently",
        customdata=intervals,
        hovertemplate="%{y}<br>accuracy %{x:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]"
        "<extra></extra>",
    )
    level(fig, chance, "chance")
    level(fig, before, "unlearned")
    level(fig, original, "original")
    fig.update_xaxes(title="accuracy", range=[0, 1.03])
    fig.update_yaxes(tickfont={"size": 11}, ticktext=names, tickvals=names)
    return fig
