"""How far taking weights, neurons or heads out brings the answers back, and where they sit."""

from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.analysis.records import Report
from mechunlearn.analysis.verdict import significant
from mechunlearn.plots.template import LOOKS, lay_out, small_headings

PREFIX = "pruning_"


def pruning(report: Report, unlearned: str) -> go.Figure:
    """Per grain: select-fold accuracy over (p, q), and the share of each layer taken out."""
    tried = {
        attack.removeprefix(PREFIX): settings
        for attack, settings in report.details[unlearned]["tried"].items()
        if attack.startswith(PREFIX)
    }
    rows = [r for r in report.rows if r["unlearned"] == unlearned]
    mine = {g: next(r for r in rows if r["attack"] == f"{PREFIX}{g}") for g in tried}
    fig = make_subplots(
        rows=2,
        cols=len(tried),
        subplot_titles=[f"{grain}: accuracy" for grain in tried]
        + [f"{grain} taken out" for grain in tried],
        vertical_spacing=0.24,
        horizontal_spacing=0.1,
    )
    best = max(mine, key=lambda g: mine[g]["accuracy"])
    row = mine[best]
    before = report.baselines[unlearned]["forget"]["accuracy"]
    ends = f"{before:.0%} to {row['accuracy']:.0%}; random {best} {row['sham_accuracy']:.0%}"
    title = (
        f"Pruning {best} lifts {unlearned} from {ends}"
        if any(map(significant, mine.values()))
        else f"Pruning brings back no more of {unlearned} than of its control: {ends}"
    )
    caption = (
        "Above: forget questions of the select fold when the share q that forgetting needs most "
        "is taken out, but for the share p that utility needs most; best of the data tried. "
        f"Below: what the chosen cell (cross) takes out of each layer. Title: confirm fold, "
        f"n = {row['n']}. Chance is {report.runcard['task']['chance']:.2f}, the original "
        f"{report.baselines['original']['forget']['accuracy']:.2f}."
    )
    lay_out(fig, title, caption, height=480)
    for panel, (grain, settings) in enumerate(tried.items()):
        chosen = mine[grain]["settings"]
        _grid(fig, settings, chosen, panel)
        for arm, part in report.details[unlearned]["attacks"][f"{PREFIX}{grain}"].items():
            look = LOOKS["attacked" if arm == "unlearned" else "never_knew"]
            label = unlearned if arm == "unlearned" else LOOKS["never_knew"].label
            fig.add_bar(
                x=list(range(len(part["pruned"]))),
                y=part["pruned"],
                name=label,
                legendgroup=arm,
                showlegend=panel == 0,
                marker={
                    "color": look.colour,
                    "pattern": {"shape": "" if arm == "unlearned" else "/"},
                },
                hovertemplate="layer %{x}: %{y} of " + grain + f"<extra>{label}</extra>",
                row=2,
                col=panel + 1,
            )
    fig.update_xaxes(title="p", type="category", tickangle=-45, row=1)
    fig.update_yaxes(type="category", row=1)
    fig.update_yaxes(title="q", row=1, col=1)
    fig.update_xaxes(title="layer", tickformat="d", row=2)
    fig.update_yaxes(title="number taken out", row=2, col=1)
    return small_headings(fig)


def _grid(
    fig: go.Figure, settings: list[dict[str, Any]], chosen: dict[str, Any], panel: int
) -> None:
    levels = sorted({s[x] for s in settings for x in "pq"})
    ticks = [f"{level:.3g}" for level in levels]
    best: dict[tuple[float, float], float] = {}
    for s in settings:
        cell = s["p"], s["q"]
        best[cell] = max(best.get(cell, 0.0), s["forget_select"])
    fig.add_heatmap(
        x=ticks,
        y=ticks,
        z=[[best.get((p, q)) for p in levels] for q in levels],
        zmin=0,
        zmax=1,
        colorscale="Cividis",
        showscale=panel == 0,
        colorbar={"title": "accuracy", "len": 0.42, "y": 0.8, "thickness": 12},
        hovertemplate="p %{x}, q %{y}<br>accuracy %{z:.3f}<extra></extra>",
        hoverongaps=False,
        row=1,
        col=panel + 1,
    )
    fig.add_scatter(
        x=[f"{chosen['p']:.3g}"],
        y=[f"{chosen['q']:.3g}"],
        mode="markers",
        marker={"symbol": "x", "size": 10, "color": "#ffffff", "line": {"width": 1}},
        showlegend=False,
        hoverinfo="skip",
        row=1,
        col=panel + 1,
    )
