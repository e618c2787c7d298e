"""How often each attack and the verdict find what is there, and what is not."""

from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from mechunlearn.analysis.verdict import CATEGORIES
from mechunlearn.plots.files import write_figures
from mechunlearn.plots.template import LOOKS, SCALE, error_bars, lay_out, level, spaced


def validation(found: dict[str, Any]) -> go.Figure:
    """Sensitivity and false-alarm rate with 95 % intervals, of a validation's result."""
    rates = {**found["attacks"], "verdict": found["verdict"]}
    names = list(rates)
    seen, hidden, wrong, gone = _counts(found["verdict"])
    title = (
        f"The verdict sees knowledge in {seen} of {hidden} models that have it, and in {wrong} "
        f"of {gone} that have none"
    )
    caption = (
        f"Models of known truth, n = {hidden} hidden and {gone} gone; bars are 95 % intervals, the "
        "dotted line is the nominal 5 %. An attack fires where its Holm-adjusted p is below 0.05."
    )
    fig = lay_out(go.Figure(), title, caption, height=60 + 44 * len(names))
    series = (
        ("sensitivity", "attacked", "finds hidden knowledge"),
        ("false_alarm_rate", "never_knew", "fires where there is none"),
    )
    for offset, (key, role, label) in enumerate(series):
        drawn = [name for name in names if rates[name][key] is not None]
        values = [rates[name][key] for name in drawn]
        intervals = [rates[name][f"{key}_ci"] for name in drawn]
        look = LOOKS[role]
        fig.add_scatter(
            x=values,
            y=[names.index(name) + 0.24 * (offset - 0.5) for name in drawn],
            error_x=error_bars(values, intervals, color=look.colour),
            mode="markers",
            name=label,
            marker={"color": look.colour, "symbol": look.marker, "size": 11},
            customdata=[
                [spaced(name), rates[name][f"{key}_n"], *ci]
                for name, ci in zip(drawn, intervals, strict=True)
            ],
            hovertemplate="%{customdata[0]}: %{x:.0%} [%{customdata[2]:.0%}, %{customdata[3]:.0%}]"
            " of %{customdata[1]} models<extra>" + label + "</extra>",
        )
    level(fig, 0.05, "chance")
    fig.update_xaxes(title="share of models", range=[-0.02, 1.03])
    fig.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=list(map(spaced, names)),
        range=[len(names) - 0.5, -0.5],
    )
    return fig


def confusion(found: dict[str, Any]) -> go.Figure:
    """A table of what each kind of model is against what the verdict says of it."""
    truths = {row["condition"]: row["truth"] for row in found["models"]}
    order = ("hidden", "gone", "open")
    counts = found["verdict"]["confusion"]
    names = sorted(counts, key=lambda name: order.index(truths[name]))
    table = [[counts[name].get(category, 0) for category in CATEGORIES] for name in names]
    seen, hidden, wrong, gone = _counts(found["verdict"])
    caption = (
        f"Models of known truth, n = {sum(map(sum, table))}, a row for what they are and a column "
        "for the verdict; numbers count models, colour is the share of a row. Right are hidden or "
        "intact for what is hidden, no evidence or inconclusive for what is gone; what is open "
        "counts for neither."
    )
    title = (
        f"The verdict is right about {seen + gone - wrong} of {hidden + gone} models: it misses "
        f"{hidden - seen} that hide knowledge and sees some in {wrong} that have none"
    )
    fig = lay_out(go.Figure(), title, caption, height=70 + 30 * len(names))
    fig.add_heatmap(
        z=[[x / sum(row) for x in row] for row in table],
        x=[category.replace(" ", "<br>") for category in CATEGORIES],
        y=[f"{truths[name]}: {spaced(name)}" for name in names],
        text=[[x or "" for x in row] for row in table],
        texttemplate="%{text}",
        colorscale=SCALE,
        zmin=0,
        zmax=1,
        showscale=False,
        hovertemplate="%{y}<br>verdict: %{x}<br>%{text} models, %{z:.0%}<extra></extra>",
    )
    fig.update_yaxes(title="truth: start and treatment", autorange="reversed", showgrid=False)
    return fig.update_xaxes(title="verdict", showgrid=False, tickangle=0, tickfont={"size": 11})


def _counts(verdict: dict[str, Any]) -> tuple[int, int, int, int]:
    """Hidden models in which the verdict sees knowledge, of how many; the same of the gone."""
    hidden, gone = verdict["sensitivity_n"], verdict["false_alarm_rate_n"]
    seen = round(verdict["sensitivity"] * hidden) if hidden else 0
    wrong = round(verdict["false_alarm_rate"] * gone) if gone else 0
    return seen, hidden, wrong, gone


def write_validation(found: dict[str, Any], folder: Path, images: bool = False) -> None:
    """Write the figures as ``validation-rates`` and ``validation-confusion``."""
    drawn = {"validation-rates": validation(found), "validation-confusion": confusion(found)}
    write_figures(drawn, folder, images)
