"""The figure of a search: its trials, those that were judged anew, and what the choice is worth."""

from collections.abc import Mapping

import plotly.graph_objects as go
import pytest
from msgspec.structs import replace

from mechunlearn.analysis.records import Arm
from mechunlearn.analysis.report import Report
from mechunlearn.attacks.trials import SearchTrace, SearchTrial
from mechunlearn.plots.search import FIGURE
from mechunlearn.records import plain


def trial(
    value: float, moved: float, judged: float | None = None, within: bool = True
) -> SearchTrial:
    return SearchTrial(value=value, retain=1.0, divergence=moved, within=within, judged=judged)


FOUND = SearchTrace(
    before=trial(0.25, 0.1, 0.25),
    trials=(trial(0.75, 0.2, 0.5), trial(0.5, 0.01, 0.5), trial(1.0, 3.0, within=False)),
    chosen=0,
)
NOTHING = SearchTrace(before=trial(0.25, 0.1, 0.25), trials=(trial(0.375, 0.0),), chosen=None)


def drawn(report: Report, traces: Mapping[Arm, SearchTrace]) -> go.Figure:
    """The figure of the first unlearned model, whose first attack left these traces."""
    first = report.findings[0]
    attack = report.rows_of(first.model)[0].attack
    left = {arm: {"search": plain(trace)} for arm, trace in traces.items()}
    found = replace(first, traces={attack: left})
    changed = replace(report, findings=(found, *report.findings[1:]))
    assert FIGURE.allowed(changed, first.model) == ("unlearned" in traces)
    return FIGURE.of(changed, first.model).figure


def test_trials_their_front_and_the_choice_are_drawn(example_report: Report) -> None:
    row = example_report.rows_of(example_report.findings[0].model)[0]
    fig = drawn(example_report, {"unlearned": FOUND, "never_knew": NOTHING})
    shown = {(t.name, t.xaxis): (list(t.x), list(t.y)) for t in fig.data}
    own, control = sorted({axis for _, axis in shown})
    assert shown["trial within the limits", own] == ([0.2, 0.01], [0.75, 0.5])
    assert shown["trial beyond a limit", own] == ([3.0], [1.0])
    assert shown["judged anew", own] == ([0.01, 0.2], [0.5, 0.75])
    assert shown["chosen trial, confirm fold", own] == ([0.2], [row.value])
    # Nothing was chosen there: the model as it is. What is drawn on a logarithm cannot be 0.
    assert shown["chosen trial, confirm fold", control] == ([0.1], [row.control])
    assert shown["trial within the limits", control] == ([1e-4], [0.375])
    assert fig.layout.meta["finding"].startswith("Best of 3 trials where they are judged: ")
    assert f"75%, and {row.value:.0%} on the confirm fold" in fig.layout.meta["finding"]
    assert f"control 38%, and {row.control:.0%}" in fig.layout.meta["finding"]
    assert "3 trials on each model" in fig.layout.meta["caption"]


def test_without_a_control_there_is_one_panel(example_report: Report) -> None:
    fig = drawn(example_report, {"unlearned": FOUND})
    assert {t.xaxis for t in fig.data} == {"x"}
    with pytest.raises(ValueError, match="empty"):
        drawn(example_report, {})
