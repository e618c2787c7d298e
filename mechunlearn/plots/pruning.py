"""How far taking weights, neurons or heads out brings the answers back, and where they sit."""

from collections.abc import Sequence

import msgspec
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mechunlearn.analysis.records import Row, TriedVariant
from mechunlearn.analysis.report import Report
from mechunlearn.analysis.significance import significant
from mechunlearn.attacks.set_difference_pruning import PrunedTrace
from mechunlearn.plots.figure import TAUGHT, Figure, forget, original, traced
from mechunlearn.plots.template import LOOKS, lay_out, small_headings
from mechunlearn.records import typed

_about = traced(PrunedTrace)


class _Shares(msgspec.Struct, frozen=True):
    """Of a variant what the axes show."""

    p: float
    q: float


def pruning(report: Report, unlearned: str) -> go.Figure:
    """Per grain: select-fold accuracy over (p, q), and the share of each layer taken out."""
    rows = _about(report, unlearned)
    grains = [f"{_trace(report, r).grain}s" for r in rows]
    fig = make_subplots(
        rows=2,
        cols=len(rows),
        subplot_titles=[f"{grain}: accuracy" for grain in grains]
        + [f"{grain} taken out" for grain in grains],
        vertical_spacing=0.24,
        horizontal_spacing=0.1,
    )
    title, caption = _words(report, rows, grains)
    lay_out(fig, title, caption, height=480)
    for panel, (row, grain) in enumerate(zip(rows, grains, strict=True)):
        _grid(fig, report.findings_of(unlearned).tried[row.attack], row, panel)
        _bars(fig, report, row, grain, panel)
    fig.update_xaxes(title="p", type="category", tickangle=-45, row=1)
    fig.update_yaxes(type="category", row=1)
    fig.update_yaxes(title="q", row=1, col=1)
    fig.update_xaxes(title="layer", tickformat="d", row=2)
    fig.update_yaxes(title="number taken out", row=2, col=1)
    return small_headings(fig)


def _words(report: Report, rows: Sequence[Row], grains: Sequence[str]) -> tuple[str, str]:
    """Title and caption."""
    best, grain = max(zip(rows, grains, strict=True), key=lambda pair: pair[0].value)
    before = forget(report, best.model).value
    ends = f"{before:.0%} to {best.value:.0%}; random {grain} {best.sham:.0%}"
    title = (
        f"Pruning {grain} lifts {best.model} from {ends}"
        if any(map(significant, rows))
        else f"Pruning brings back no more of {best.model} than of its control: {ends}"
    )
    caption = (
        "Above: forget questions of the select fold when the share q that forgetting needs most "
        "is taken out, but for the share p that utility needs most; best of the data tried. "
        f"Below: what the chosen cell (cross) takes out of each layer. Title: confirm fold, "
        f"n = {best.n}. Chance is {report.runcard.task.chance:.2f}, the original "
        f"{original(report).value:.2f}."
    )
    return title, caption


def _bars(fig: go.Figure, report: Report, row: Row, grain: str, panel: int) -> None:
    for arm in TAUGHT:
        trace = report.findings_of(row.model).trace(PrunedTrace, row.attack, arm)
        if trace is None:
            continue
        look = LOOKS["attacked" if arm == "unlearned" else "never_knew"]
        label = row.model if arm == "unlearned" else look.label
        fig.add_bar(
            x=list(range(len(trace.pruned))),
            y=trace.pruned,
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


def _trace(report: Report, row: Row) -> PrunedTrace:
    trace = report.findings_of(row.model).trace(PrunedTrace, row.attack)
    assert trace is not None
    return trace


def _grid(fig: go.Figure, tried: Sequence[TriedVariant], row: Row, panel: int) -> None:
    cells = [(typed(t.variant, _Shares, f"a variant of {row.attack}"), t.forget) for t in tried]
    levels = sorted({x for cell, _ in cells for x in (cell.p, cell.q)})
    ticks = [f"{level:.3g}" for level in levels]
    best: dict[tuple[float, float], float] = {}
    for cell, value in cells:
        best[cell.p, cell.q] = max(best.get((cell.p, cell.q), 0.0), value)
    chosen = typed(row.variant, _Shares, f"the variant of {row.attack}")
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
        x=[f"{chosen.p:.3g}"],
        y=[f"{chosen.q:.3g}"],
        mode="markers",
        marker={"symbol": "x", "size": 10, "color": "#ffffff", "line": {"width": 1}},
        showlegend=False,
        hoverinfo="skip",
        row=1,
        col=panel + 1,
    )


FIGURE = Figure(
    kind="pruning",
    explains="Weights, neurons or heads that forgetting needs and nothing else does.",
    draw=pruning,
    about=_about,
)
