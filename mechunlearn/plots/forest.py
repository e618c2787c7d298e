"""Recovery of every attack on every unlearned model, net of its control: a forest plot."""

from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from mechunlearn.analysis.records import Report
from mechunlearn.analysis.verdict import significant
from mechunlearn.plots.template import LOOKS, error_bars, lay_out, level, spaced

RANGE = (-0.35, 1.35)
"""Shares of the gap that are drawn; intervals may end outside."""
UNION = "any of them"


@dataclass(frozen=True, slots=True)
class _Line:
    model: str
    what: str
    share: float | None
    """Recovery; ``None`` where the gap's interval covers 0."""
    interval: tuple[float, float]
    never_knew: float | None = None
    """What the never-knew model gained by the attack, as a share of the same gap."""
    sham: float | None = None


def forest(report: Report) -> go.Figure:
    """A line for each unlearned model and attack, and one for all attacks together."""
    models = list(dict.fromkeys(r["unlearned"] for r in report.rows))
    blocks = {model: _lines(report, model) for model in models}
    lines: list[_Line | None] = []  # None: the line that names a model.
    for found in blocks.values():
        lines += [None, *found]
    n, control = report.rows[0]["n"], report.rows[0]["control"]
    by = "the never-knew model's" if control == "never_knew" else "the sham's"
    caption = (
        f"Share of the gap between original and unlearned accuracy, net of {by} gain (0), with "
        f"95 % bootstrap intervals; forget questions of the confirm fold, n = {n}. Solid line: "
        "everything is back. Small marks: gains of the controls themselves, in the same unit."
    )
    fig = lay_out(go.Figure(), _title(report, models), caption, height=40 + 25 * len(lines))
    drawn = {i: line for i, line in enumerate(lines) if line is not None and line.share is not None}
    _controls(fig, drawn)
    _estimates(fig, {i: x for i, x in drawn.items() if x.what != UNION}, "one attack")
    unions = {i: x for i, x in drawn.items() if x.what == UNION}
    if unions:
        _estimates(fig, unions, "any of the attacks, net of any on the control")
    level(fig, 0.0, "chance")
    level(fig, 1.0, "original")
    titles = iter(models)
    names = [f"<b>{next(titles)}</b>" if x is None else spaced(x.what) for x in lines]
    for i, line in enumerate(lines):
        if line is not None:
            _number(fig, i, line)
    fig.update_layout(margin={"r": 130})
    fig.update_xaxes(
        title="recovered share of the gap",
        range=RANGE,
        tickvals=[0, 0.25, 0.5, 0.75, 1],
        tickformat=".0%",
    )
    fig.update_yaxes(
        tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.5, -0.5]
    )
    return fig


def _lines(report: Report, model: str) -> list[_Line]:
    rows = [r for r in report.rows if r["unlearned"] == model]
    before = report.baselines[model]["forget"]["accuracy"]
    twin = report.baselines.get(f"{model} control", report.baselines.get("never_knew"))
    found = []
    for r in rows:
        knows_not = twin is not None and r["control"] == "never_knew"
        share, gap = r["recovery"], r["gap"]
        found.append(
            _Line(
                model,
                r["attack"],
                share,
                tuple(r["recovery_ci"] or (0.0, 0.0)),
                (r["control_accuracy"] - twin["forget"]["accuracy"]) / gap
                if twin is not None and knows_not and share is not None
                else None,
                (r["sham_accuracy"] - before) / gap if share is not None else None,
            )
        )
    union = report.details[model].get("union")
    if union and len(rows) > 1:
        ci = tuple(union["recovery_ci"] or (0.0, 0.0))
        found.append(_Line(model, UNION, union["recovery"], ci))
    return found


def _controls(fig: go.Figure, drawn: dict[int, _Line]) -> None:
    for role, label in (("sham", "sham on the unlearned model"), ("never_knew", "never-knew")):
        gains = {i: getattr(line, role) for i, line in drawn.items()}
        gains = {i: gain for i, gain in gains.items() if gain is not None}
        if not gains:
            continue
        look = LOOKS[role]
        fig.add_scatter(
            x=list(gains.values()),
            y=[i + 0.22 for i in gains],
            mode="markers",
            name=label,
            marker={"color": look.colour, "symbol": look.marker, "size": 7},
            text=[f"{drawn[i].model}, {spaced(drawn[i].what)}" for i in gains],
            hovertemplate="%{text}<br>gain %{x:.1%} of the gap<extra>" + label + "</extra>",
        )


def _estimates(fig: go.Figure, drawn: dict[int, _Line], label: str) -> None:
    look, one = LOOKS["attacked"], label == "one attack"
    shares = [line.share or 0.0 for line in drawn.values()]
    intervals = [line.interval for line in drawn.values()]
    fig.add_scatter(
        x=shares,
        y=list(drawn),
        error_x=error_bars(shares, intervals, color=look.colour, thickness=1.8, width=4),
        mode="markers",
        name=label,
        marker={
            "color": look.colour,
            "symbol": look.marker if one else "diamond-wide-open",
            "size": 9 if one else 13,
        },
        customdata=[[f"{x.model}, {spaced(x.what)}", *x.interval] for x in drawn.values()],
        hovertemplate="%{customdata[0]}<br>recovery %{x:.1%} [%{customdata[1]:.1%}, "
        "%{customdata[2]:.1%}]<extra>" + label + "</extra>",
    )


def _number(fig: go.Figure, at: int, line: _Line) -> None:
    low, high = line.interval
    text = "no gap"
    if line.share is not None:
        text = "{} [{}, {}] %".format(*(round(100 * x) for x in (line.share, low, high)))
    fig.add_annotation(
        x=1.01,
        xref="paper",
        xanchor="left",
        y=at,
        text=text,
        showarrow=False,
        font={"size": 12},
    )


def _title(report: Report, models: list[str]) -> str:
    parts = []
    for model in models:
        rows = [r for r in report.rows if r["unlearned"] == model and significant(r)]
        rows = [r for r in rows if r["recovery"] is not None]
        if rows:
            best: dict[str, Any] = max(rows, key=lambda r: r["recovery"])
            parts.append(f"{best['recovery']:.0%} from {model} ({spaced(best['attack'])})")
        else:
            parts.append(f"nothing from {model}")
    if all(part.startswith("nothing") for part in parts):
        return "No attack brings back more than its control"
    return f"The best attack brings back {', '.join(parts)}"
