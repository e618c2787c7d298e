"""Accuracy under every attack, beside its controls: the audit in one picture."""

from collections.abc import Sequence

import plotly.graph_objects as go

from mechunlearn.analysis.records import Row
from mechunlearn.analysis.report import Report
from mechunlearn.analysis.significance import significant
from mechunlearn.plots.figure import Figure, always, forget, original
from mechunlearn.plots.template import LOOKS, bounds, error_bars, lay_out, level, spaced
from mechunlearn.records import Interval


def recovery(report: Report, unlearned: str) -> go.Figure:
    """Dots with 95 % intervals for each attack: attacked, sham, never-knew and ceiling."""
    rows = report.rows_of(unlearned)
    names = [spaced(r.attack) for r in rows]
    before, ceiling = forget(report, unlearned).value, original(report).value
    chance = report.runcard.task.chance
    caption = (
        f"Forget questions of the confirm fold, n = {rows[0].n}; bars are 95 % intervals. Lines: "
        f"chance {chance:.2f} (dotted), {unlearned} {before:.2f} (dashed), original "
        f"{ceiling:.2f} (solid)."
    )
    fig = lay_out(go.Figure(), _title(rows, unlearned), caption, height=60 + 56 * len(rows))
    series: list[tuple[str, float, str, list[tuple[float, Interval | None]]]] = [
        ("attacked", -0.27, f"{unlearned}, attacked", [(r.value, r.value_ci) for r in rows]),
        ("sham", -0.09, "sham attack on it", [(r.sham, r.sham_ci) for r in rows]),
        ("ceiling", 0.27, LOOKS["ceiling"].label, [(r.original, r.original_ci) for r in rows]),
    ]
    controls = [(r.control, r.control_ci) for r in rows if r.control is not None]
    if len(controls) == len(rows):  # Of one model all rows have one, or none has.
        series.insert(2, ("never_knew", 0.09, "never-knew model, attacked", [*controls]))
    for role, offset, label, values in series:
        look = LOOKS[role]
        x, intervals = zip(*values, strict=True)
        fig.add_scatter(
            x=x,
            y=[i + offset for i in range(len(rows))],
            error_x=error_bars(
                x, intervals, color=look.colour, width=0, thickness=2 if role == "attacked" else 1
            ),
            mode="markers",
            name=label,
            marker={"color": look.colour, "symbol": look.marker, "size": 9},
            customdata=[[name, bounds(ci)] for name, ci in zip(names, intervals, strict=True)],
            hovertemplate="%{customdata[0]}<br>accuracy %{x:.3f}%{customdata[1]}<extra>"
            + label
            + "</extra>",
        )
    level(fig, chance, "chance")
    level(fig, before, "unlearned")
    level(fig, ceiling, "original")
    fig.update_xaxes(title="accuracy", range=[0, 1.03])
    fig.update_yaxes(tickvals=list(range(len(rows))), ticktext=names, range=[len(rows) - 0.5, -0.5])
    return fig


def _title(rows: Sequence[Row], unlearned: str) -> str:
    best = max(filter(significant, rows), key=lambda r: r.difference, default=None)
    if all(r.recovery is None for r in rows):
        return f"{unlearned}: no measurable gap to recover"
    if best is None or best.recovery is None or best.recovery_ci is None:
        return f"No attack on {unlearned} brings back more than its control"
    attack = spaced(best.attack)
    attack = attack[0].upper() + attack[1:]
    share, ci = best.recovery, best.recovery_ci
    return f"{attack} brings back {share:.0%} [{ci[0]:.0%}, {ci[1]:.0%}] of what {unlearned} hid"


FIGURE = Figure(
    kind="recovery",
    explains="Every attack beside its controls.",
    draw=recovery,
    overview=True,
    needs=always,
)
