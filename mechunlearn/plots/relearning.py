"""What little finetuning brings back, and what the same finetuning teaches a never-knew model."""

from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.analysis.records import Report
from mechunlearn.plots.template import LOOKS, error_bars, lay_out, level, small_headings

PREFIX = "relearning_"
DATA = {
    "disjoint": "other facts of the domain",
    "tested": "the tested facts",
    "retain": "retain facts",
    "text": "plain text",
    "questions": "unrelated questions",
}


def relearning(report: Report, unlearned: str) -> go.Figure:
    """A panel for each kind of data: accuracy against samples, every run of both models."""
    seen = {
        attack.removeprefix(PREFIX): arms
        for attack, arms in report.details[unlearned]["attacks"].items()
        if attack.startswith(PREFIX)
    }
    rows = (len(seen) + 1) // 2
    fig = make_subplots(
        rows=rows,
        cols=min(2, len(seen)),
        subplot_titles=[DATA[data] for data in seen],
        shared_yaxes=True,
        vertical_spacing=0.26 / max(2, rows),
        horizontal_spacing=0.06,
    )
    n = next(r["n"] for r in report.rows if r["unlearned"] == unlearned)
    caption = (
        f"Forget questions of the confirm fold, n = {n}; a line for each learning rate and seed, "
        "the chosen one strong, with 95 % intervals. Lines: chance (dotted), original (solid)."
    )
    lay_out(fig, _title(report, seen, unlearned), caption, height=60 + 230 * rows)
    shown: set[str] = set()
    for panel, (data, arms) in enumerate(seen.items()):
        place = {"row": panel // 2 + 1, "col": panel % 2 + 1}
        row = next(
            r
            for r in report.rows
            if (r["unlearned"], r["attack"]) == (unlearned, f"{PREFIX}{data}")
        )
        for arm, part in arms.items():
            role = "attacked" if arm == "unlearned" else "never_knew"
            label = f"{unlearned}, relearning" if arm == "unlearned" else "never-knew, learning"
            for curve in part["curves"]:
                chosen = all(curve[k] == row["settings"][k] for k in ("rate", "seed"))
                fig.add_trace(_line(curve, role, label, chosen, label not in shown), **place)
                shown |= {label} if chosen else set()
        level(fig, report.runcard["task"]["chance"], "chance", "y", **place)
        level(fig, report.baselines["original"]["forget"]["accuracy"], "original", "y", **place)
    fig.update_yaxes(range=[0, 1.05])
    fig.update_yaxes(title="accuracy", col=1)
    most = max(p["samples"] for arms in seen.values() for p in _points(arms))
    ticks = [2**i for i in range(0, most.bit_length(), 2)]
    fig.update_xaxes(type="log", tickvals=ticks)
    for column in (1, 2)[: len(seen)]:
        bottom = rows if len(seen) % 2 == 0 or column == 1 else rows - 1
        fig.update_xaxes(title="samples trained on", row=bottom, col=column)
    return small_headings(fig)


def _line(curve: dict[str, Any], role: str, label: str, chosen: bool, first: bool) -> go.Scatter:
    look, points = LOOKS[role], [p for p in curve["points"] if p["steps"]]
    y = [p["accuracy"] for p in points]
    intervals = [p["interval"] for p in points]
    return go.Scatter(
        x=[p["samples"] for p in points],
        y=y,
        error_y=error_bars(y, intervals, width=2) if chosen else None,
        mode="lines+markers" if chosen else "lines",
        name=label,
        legendgroup=role,
        showlegend=chosen and first,
        opacity=1.0 if chosen else 0.35,
        line={"color": look.colour, "dash": look.dash, "width": 2.2 if chosen else 1.2},
        marker={"symbol": look.marker, "size": 7},
        customdata=[[p["retain"], p["tokens"], *p["interval"]] for p in points],
        hovertemplate=f"lr {curve['rate']:g}, seed {curve['seed']}<br>%{{x}} samples, "
        "%{customdata[1]} tokens of forget information<br>accuracy %{y:.3f} "
        "[%{customdata[2]:.3f}, %{customdata[3]:.3f}], retain %{customdata[0]:.3f}<extra>"
        + label
        + "</extra>",
    )


def _points(arms: dict[str, Any]) -> list[dict[str, Any]]:
    return [p for part in arms.values() for curve in part["curves"] for p in curve["points"]]


def _title(report: Report, seen: dict[str, Any], unlearned: str) -> str:
    halves = {
        data: arms["unlearned"]["half_recovery"]
        for data, arms in seen.items()
        if arms["unlearned"]["half_recovery"]
    }
    if not halves:
        ends = [report.baselines[m]["forget"]["accuracy"] for m in ("original", unlearned)]
        runs = [{"unlearned": arms["unlearned"]} for arms in seen.values()]
        reached = any(p["accuracy"] >= sum(ends) / 2 for arms in runs for p in _points(arms))
        limit = report.runcard["settings"].get("retain_limit", 0.05)
        return f"Relearning brings {unlearned} half-way back with none of these data" + (
            f" without losing more than {limit:.0%} of retain accuracy" if reached else ""
        )
    data = next(iter(halves))
    text = f"{halves[data]['samples']} samples of {DATA[data]} bring {unlearned} half-way back"
    other = seen[data].get("never_knew")
    if other is None:
        return text
    if other["half_recovery"] is None:
        return f"{text}; the never-knew model gets there with none of {other['most_samples']}"
    return f"{text}, against {other['half_recovery']['samples']} for the never-knew model"
