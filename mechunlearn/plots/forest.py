"""Recovery of every attack on every unlearned model, net of its control: a forest plot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from mechunlearn.analysis.report import Report
from mechunlearn.analysis.significance import counts, significant
from mechunlearn.plots.figure import Figure, always, attacked, control, forget
from mechunlearn.plots.template import LOOKS, error_bars, lay_out, level, spaced
from mechunlearn.records import Interval

RANGE = (-0.35, 1.35)
"""Shares of the gap that are drawn; intervals may end outside."""
UNION = "any of them"


@dataclass(frozen=True, slots=True)
class _Line:
    model: str
    what: str
    share: float | None
    """Recovery; ``None`` where the gap's interval covers 0."""
    interval: Interval
    never_knew: float | None = None
    """What the never-knew model gained by the attack, as a share of the same gap."""
    sham: float | None = None
    counts: bool = True
    """Whether it can show knowledge; else what was taught or handed back cannot be told from it."""


def forest(report: Report) -> go.Figure:
    """A line for each unlearned model and attack, and one for all attacks together."""
    models = attacked(report)
    blocks = {model: _lines(report, model) for model in models}
    lines: list[_Line | None] = []  # None: the line that names a model.
    for block in blocks.values():
        lines += [None, *block]
    n = report.rows[0].n
    never_knew = report.rows[0].control is not None
    by = "the never-knew model's gain" if never_knew else "the best of its controls"
    caption = (
        f"Share of the gap between original and unlearned accuracy, net of {by} (0), with "
        f"95 % bootstrap intervals; forget questions of the confirm fold, n = {n}. Solid line: "
        "everything is back. Small marks: gains of the controls themselves, in the same unit."
    )
    fig = lay_out(go.Figure(), _title(report, models), caption, height=40 + 25 * len(lines))
    drawn = {i: line for i, line in enumerate(lines) if line is not None and line.share is not None}
    _controls(fig, drawn)
    unions = {i: x for i, x in drawn.items() if x.what == UNION}
    single = {i: x for i, x in drawn.items() if i not in unions}
    unclear = {i: x for i, x in single.items() if not x.counts}
    _estimates(fig, {i: x for i, x in single.items() if x.counts}, "one attack", "")
    _estimates(fig, unclear, "shows nothing: taught, or handed, what was forgotten", "-open")
    _estimates(fig, unions, "any of the attacks, net of any on the control", "wide")
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
    rows, before = report.rows_of(model), forget(report, model).value
    unattacked = control(report, model)
    lines = []
    for r in rows:
        gain = None
        if r.control is not None and unattacked is not None and r.recovery is not None:
            gain = (r.control - unattacked.value) / r.gap
        sham = None if r.recovery is None else (r.sham - before) / r.gap
        interval = r.recovery_ci or (0.0, 0.0)
        lines.append(_Line(model, r.attack, r.recovery, interval, gain, sham, counts(r)))
    union = report.findings_of(model).union
    if union is not None and len(rows) > 1:
        lines.append(_Line(model, UNION, union.recovery, union.recovery_ci or (0.0, 0.0)))
    return lines


def _controls(fig: go.Figure, drawn: Mapping[int, _Line]) -> None:
    of = {i: (line.sham, line.never_knew) for i, line in drawn.items()}
    labels = {"sham": "sham on the unlearned model", "never_knew": "never-knew"}
    for place, (role, label) in enumerate(labels.items()):
        gains = {i: pair[place] for i, pair in of.items() if pair[place] is not None}
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


def _estimates(fig: go.Figure, drawn: Mapping[int, _Line], label: str, mark: str) -> None:
    """Points with their intervals; ``mark`` is added to their symbol, or says that it is wide."""
    if not drawn:
        return
    look, wide = LOOKS["attacked"], mark == "wide"
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
            "symbol": "diamond-wide-open" if wide else f"{look.marker}{mark}",
            "size": 13 if wide else 9,
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


def _title(report: Report, models: Sequence[str]) -> str:
    parts = []
    for model in models:
        shares = [
            (r.recovery, r.attack)
            for r in report.rows_of(model)
            if significant(r) and r.recovery is not None
        ]
        if shares:
            share, attack = max(shares, key=lambda pair: pair[0])
            parts.append(f"{share:.0%} from {model} ({spaced(attack)})")
        else:
            parts.append(f"nothing from {model}")
    if all(part.startswith("nothing") for part in parts):
        return "No attack brings back more than its control"
    return f"The best attack brings back {', '.join(parts)}"


FIGURE = Figure(
    kind="forest",
    explains="Estimates, their intervals and what the controls gain.",
    draw=forest,
    per_model=False,
    needs=always,
)
