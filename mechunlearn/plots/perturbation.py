"""What changed prompts bring back: every kind tried, at its best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from mechunlearn.analysis.records import Row
from mechunlearn.analysis.report import Report
from mechunlearn.analysis.significance import significant
from mechunlearn.plots.figure import Figure, forget, original
from mechunlearn.plots.template import LOOKS, bounds, error_bars, lay_out, level, spaced
from mechunlearn.records import Interval, Plain

SHOWN = 16
"""Bars drawn at most: the highest."""


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    value: float
    """On the forget questions of the select fold, at the kind's best variant."""
    retain: float | None
    """Measured only where the choice came to it."""
    interval: Interval | None
    refused: bool
    """Whether it lost more retain accuracy than allowed."""


def perturbation(report: Report, unlearned: str) -> go.Figure:
    """The highest bars of select-fold accuracy by kind of change, at each kind's best variant."""
    rows = _about(report, unlearned)
    kinds = _kinds(report, rows)
    before, ceiling = forget(report, unlearned).value, original(report).value
    chance, n = report.runcard.task.chance, report.runcard.task.n["forget, select"]
    caption = (
        f"Forget questions of the select fold, n = {n}, with 95 % intervals; each kind at its "
        "best, so the highest is high by chance too; hatched: costs more retain accuracy than "
        f"allowed. Title: confirm fold, n = {rows[0].n}. Lines: chance "
        f"{chance:.2f} (dotted), {unlearned} {before:.2f} (dashed), original {ceiling:.2f} "
        "(solid)."
    )
    title = _title(kinds, rows, unlearned, before)
    fig = lay_out(go.Figure(), title, caption, height=60 + 18 * len(kinds))
    x = [k.value for k in kinds]
    look = LOOKS["attacked"].colour
    fig.add_bar(
        x=x,
        y=[k.name for k in kinds],
        orientation="h",
        error_x=error_bars(x, [k.interval for k in kinds], color="#1b1b1b", width=0, thickness=1),
        marker={
            "color": look,
            "pattern": {"shape": ["/" if k.refused else "" for k in kinds], "fillmode": "replace"},
        },
        customdata=[
            [bounds(k.interval), "not measured" if k.retain is None else f"{k.retain:.3f}"]
            for k in kinds
        ],
        hovertemplate="%{y}<br>accuracy %{x:.3f}%{customdata[0]}"
        "<br>retain accuracy %{customdata[1]}<extra></extra>",
    )
    level(fig, chance, "chance")
    level(fig, before, "unlearned")
    level(fig, ceiling, "original")
    fig.update_xaxes(title="accuracy", range=[0, 1.03])
    names = [k.name for k in kinds]
    fig.update_yaxes(tickfont={"size": 11}, ticktext=names, tickvals=names)
    return fig


def _about(report: Report, unlearned: str) -> tuple[Row, ...]:
    """Attacks that tried given prompts; one that searched for its own left a trace of that."""
    findings = report.findings_of(unlearned)
    return tuple(
        row
        for row in report.rows_of(unlearned)
        if row.family == "prompt" and row.attack not in findings.traces
    )


def _kinds(report: Report, rows: Sequence[Row]) -> list[_Kind]:
    """The kinds that reach most, the best last."""
    best: dict[str, _Kind] = {}
    for row in rows:
        for tried in report.findings_of(row.model).tried[row.attack]:
            name = f"{spaced(row.attack)}: {_name(tried.variant)}"
            chosen = tried.variant == row.variant
            # Variants are taken in the order of their gain until one costs little enough.
            refused = tried.retain is not None and not (chosen and row.within_limit)
            kind = _Kind(name, tried.forget, tried.retain, tried.forget_ci, refused)
            if name not in best or kind.value > best[name].value:
                best[name] = kind
    return sorted(best.values(), key=lambda k: k.value)[-SHOWN:]


def _name(variant: Plain) -> str:
    """The first text among its fields; the other fields are how much of it."""
    fields = list(variant.values()) if isinstance(variant, Mapping) else [variant]
    return next((x for x in fields if isinstance(x, str)), ", ".join(map(str, fields)))


def _title(kinds: list[_Kind], rows: Sequence[Row], unlearned: str, before: float) -> str:
    top = max(rows, key=lambda r: r.value)
    sham = f"the sham reaches {top.sham:.0%}"
    if any(map(significant, rows)):
        return f"Changed prompts take {unlearned} from {before:.0%} to {top.value:.0%}; {sham}"
    title = (
        f"No change of the prompt that spares retain accuracy moves {unlearned} beyond its "
        f"control: {before:.0%} to {top.value:.0%}; {sham}"
    )
    costly = max((k.value for k in kinds if k.refused), default=0.0)
    return title + (
        f"; costlier ones reach {costly:.0%} of the select fold" if costly > top.value + 0.1 else ""
    )


FIGURE = Figure(
    kind="perturbation",
    explains="Prompts changed at random, where activations point along the direction, or by "
    "templates.",
    draw=perturbation,
    about=_about,
)
