"""The depth profile: what stands in the report is what is drawn."""

from collections.abc import Mapping

import plotly.graph_objects as go
import pytest
from msgspec.structs import replace

from mechunlearn.analysis.records import Arm
from mechunlearn.analysis.report import Report
from mechunlearn.attacks.depth import DepthCurve, DepthTrace
from mechunlearn.plots import Drawn, figures
from mechunlearn.records import plain


def line(name: str, *values: float, nothing: float = 0.25, everything: float = 1.0) -> DepthCurve:
    cis = tuple((v - 0.1, v + 0.1) for v in values)
    layers = tuple(range(len(values)))
    return DepthCurve(
        name=name,
        layers=layers,
        values=values,
        value_cis=cis,
        nothing=nothing,
        everything=everything,
    )


def drawn(report: Report, traces: Mapping[Arm, tuple[DepthCurve, ...]]) -> go.Figure:
    """The depth figure of the first unlearned model, whose first attack left these curves."""
    first = report.findings[0]
    attack = report.rows_of(first.model)[0].attack
    left = {arm: {"depth": plain(DepthTrace(curves=c))} for arm, c in traces.items()}
    found = replace(first, traces={attack: left})
    changed = replace(
        report,
        rows=report.rows_of(first.model),  # One model's: the others' figures are as before.
        findings=(found, *report.findings[1:]),
    )
    return {d.key: d.figure for d in figures(changed)}[f"depth-{first.model}"]


@pytest.mark.ci
def test_every_read_out_stands_on_one_axis(example_report: Report) -> None:
    lens, probe = line("lens", 0.25, 1.0), line("probe", 0.0, 0.375, nothing=0.0, everything=0.75)
    into = replace(line("into", 0.5, 0.9, nothing=1.0, everything=0.0), kind="exchange")
    into = replace(into, of_unlearned=True)
    detail = replace(line("detail", 0.3, 0.3), kind="detail")
    unlearned = (replace(lens, values=(0.25, 0.4)), probe, detail)
    fig = drawn(example_report, {"unlearned": unlearned, "original": (lens, into)})
    shown = {(t.name, t.xaxis): list(t.y) for t in fig.data if t.hoverinfo != "skip"}
    assert {name for name, _ in shown} == {"lens", "probe", "into"}
    panels = sorted({axis for _, axis in shown})
    original, own = panels
    assert shown["lens", original] == [0.0, 1.0]
    assert shown["probe", own] == [0.0, 0.5]
    assert [round(y, 6) for y in shown["into", own]] == [0.5, 0.1]  # Not in the original's panel.
    finding = fig.layout.meta["finding"]
    assert finding.startswith("Share of the answers that read-outs find in")
    assert finding.endswith("lens 20% and probe 50%")


@pytest.mark.ci
def test_what_is_read_by_luck_is_not_called_found(
    example_report: Report, example_figures: list[Drawn]
) -> None:
    fig = drawn(example_report, {"unlearned": (line("lens", 0.2, 0.3),)})
    assert "No read-out finds the answers" in fig.layout.meta["finding"]
    assert not [d for d in example_figures if d.kind == "depth"]
