"""Every attack on every unlearned model: the main comparison of Łucki et al. as a figure."""

from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.analysis.records import Report
from mechunlearn.analysis.verdict import significant
from mechunlearn.plots.template import LOOKS, error_bars, lay_out, level, listed, small_headings
from mechunlearn.plots.template import spaced as words
from mechunlearn.stats import wilson

ACROSS = 3
"""Panels in a row."""
NONE = "no attack"


def comparison(report: Report) -> go.Figure:
    """A panel for each unlearned model: accuracy without and under every attack, and its control's.

    Settings of each attack were chosen on the select fold; the accuracies are the confirm fold's.
    """
    models = list(dict.fromkeys(r["unlearned"] for r in report.rows))
    attacks = list(dict.fromkeys(r["attack"] for r in report.rows))
    down, across = -(-len(models) // ACROSS), min(ACROSS, len(models))
    fig = make_subplots(
        rows=down,
        cols=across,
        subplot_titles=models,
        shared_yaxes=True,
        horizontal_spacing=0.04,
        vertical_spacing=0.34 / (down * max(1, len(attacks) // 4)),
    )
    chance = report.runcard["task"]["chance"]
    original = report.baselines["original"]["forget"]
    caption = (
        f"Forget questions of the confirm fold, n = {original['n']}; bars are 95 % intervals. "
        f"Lines: chance {chance:.2f} (dotted), original {original['accuracy']:.2f} (solid)."
    )
    height = down * (50 + 30 * (len(attacks) + 1))
    lay_out(fig, _title(report, models), caption, height=height)
    names = [NONE, *map(words, attacks)]
    shown: set[str] = set()
    for panel, model in enumerate(models):
        place: dict[str, Any] = {"row": panel // ACROSS + 1, "col": panel % ACROSS + 1}
        rows = [r for r in report.rows if r["unlearned"] == model]
        for series in _series(report, model, rows):
            _dots(fig, series, names, series["label"] not in shown, place)
            shown.add(series["label"])
        level(fig, chance, "chance", **place)
        level(fig, original["accuracy"], "original", **place)
    fig.update_xaxes(range=[0, 1.05], tickvals=[0, 0.5, 1])
    fig.update_xaxes(title="accuracy", row=down)
    fig.update_yaxes(
        tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.5, -0.5]
    )
    return small_headings(fig)


def _series(report: Report, model: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What one panel shows, with a value and an interval for each named row."""
    before = report.baselines[model]["forget"]
    attacked = {
        "role": "attacked",
        "label": "unlearned, attacked",
        "values": {words(r["attack"]): (r["accuracy"], r["accuracy_ci"]) for r in rows},
    }
    unlearned = {
        "role": "unlearned",
        "label": "unlearned",
        "values": {NONE: (before["accuracy"], before["accuracy_ci"])},
    }
    knows_not = rows[0]["control"] == "never_knew"
    control: dict[str, Any] = {
        "role": "never_knew" if knows_not else "sham",
        "label": "never-knew model, treated alike" if knows_not else "sham attack",
        "values": {
            words(r["attack"]): (
                r["control_accuracy"],
                wilson(round(r["control_accuracy"] * r["n"]), r["n"]),
            )
            for r in rows
        },
    }
    twin = report.baselines.get(f"{model} control", report.baselines.get("never_knew"))
    if knows_not and twin is not None:
        control["values"][NONE] = (twin["forget"]["accuracy"], twin["forget"]["accuracy_ci"])
    return [control, unlearned, attacked]


def _dots(
    fig: go.Figure, series: dict[str, Any], names: list[str], legend: bool, place: dict[str, Any]
) -> None:
    look, values = LOOKS[series["role"]], series["values"]
    off = 0.14 if series["role"] in ("never_knew", "sham") else -0.14
    x, intervals = zip(*values.values(), strict=True)
    fig.add_scatter(
        x=x,
        y=[names.index(name) + off for name in values],
        error_x=error_bars(x, intervals, color=look.colour, width=0, thickness=1.6),
        mode="markers",
        name=series["label"],
        legendgroup=series["role"],
        showlegend=legend,
        marker={"color": look.colour, "symbol": look.marker, "size": 9},
        customdata=[[name, *ci] for name, ci in zip(values, intervals, strict=True)],
        hovertemplate="%{customdata[0]}<br>accuracy %{x:.3f} [%{customdata[1]:.3f}, "
        "%{customdata[2]:.3f}]<extra>" + series["label"] + "</extra>",
        **place,
    )


def _title(report: Report, models: list[str]) -> str:
    rows = {m: [r for r in report.rows if r["unlearned"] == m] for m in models}
    hits = {m: sum(map(significant, mine)) for m, mine in rows.items()}
    if not any(hits.values()):
        return f"No attack brings back more than its control from any of {len(models)} models"
    counts = [f"{hits[m]} of {len(rows[m])} from {m}" for m in models]
    return f"Attacks that bring answers back: {listed(counts)}"
