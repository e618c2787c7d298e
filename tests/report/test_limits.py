"""Norm limits: what stands in the report is what is drawn, of both models."""

from collections.abc import Mapping

import plotly.graph_objects as go
import pytest
from msgspec.structs import replace

from mechunlearn.analysis.records import Arm
from mechunlearn.analysis.report import Report
from mechunlearn.attacks.limits import LimitCurve, LimitTrace
from mechunlearn.attacks.relearning_data import WordingTrace
from mechunlearn.plots import Drawn, figures
from mechunlearn.records import plain


def trace(trained: tuple[float, ...], random: tuple[float, ...]) -> LimitTrace:
    curves = tuple(
        LimitCurve(name=name, values=y, value_cis=tuple((v - 0.1, v + 0.1) for v in y))
        for name, y in (("trained", trained), ("random", random))
    )
    return LimitTrace(where="vector at layer 2", eps=(0.5, 1.0), curves=curves, guessed=0.25)


def drawn(report: Report, left: Mapping[Arm, LimitTrace]) -> go.Figure:
    """The figure of the first unlearned model, whose first attack left these traces."""
    first = report.findings[0]
    attack = report.rows_of(first.model)[0].attack
    traces = {arm: {"limits": plain(t)} for arm, t in left.items()}
    changed = replace(first, traces={attack: traces})
    changed_report = replace(
        report,
        rows=report.rows_of(first.model),  # One model's: the others' figures are as before.
        findings=(changed, *report.findings[1:]),
    )
    return {d.key: d.figure for d in figures(changed_report)}[f"limits-{first.model}"]


@pytest.mark.ci
def test_both_models_are_drawn_at_every_limit(
    example_report: Report, example_figures: list[Drawn]
) -> None:
    fig = drawn(
        example_report,
        {"unlearned": trace((0.3, 0.9), (0.2, 0.3)), "never_knew": trace((0.25, 0.3), (0.2, 0.2))},
    )
    shown = {t.name.split(", ")[1] + t.line.color: list(t.y) for t in fig.data}
    assert sorted(map(tuple, shown.values())) == [(0.2, 0.2), (0.2, 0.3), (0.25, 0.3), (0.3, 0.9)]
    assert all(list(t.x) == [0.5, 1.0] for t in fig.data)
    assert len({t.line.color for t in fig.data}) == 2
    assert "vector at layer 2" in fig.layout.meta["caption"]
    assert "the never-knew model to" in fig.layout.meta["finding"]
    assert not [d for d in example_figures if d.kind == "limits"]


@pytest.mark.ci
def test_relearning_says_how_much_of_the_wording_was_trained_on(example_report: Report) -> None:
    (first, *others) = example_report.findings
    attack = next(a for a, arms in first.courses.items() if "unlearned" in arms)
    left = {attack: {"unlearned": {"wording": plain(WordingTrace(share=0.37))}}}
    changed = replace(
        example_report,
        rows=example_report.rows_of(first.model),
        findings=(replace(first, traces=left), *others),
    )
    fig = {d.key: d.figure for d in figures(changed)}[f"relearning-{first.model}"]
    headings = [note.text for note in fig.layout.annotations]
    assert [h for h in headings if h.endswith(", 37% of the wording")]
    assert sum("of the wording" in h for h in headings) == 1
