"""Tables fit the terminal, and pipes get tab-separated values."""

import io
import sys
from collections.abc import Callable
from typing import get_args

import msgspec
import pytest
from rich.console import Console

from mechunlearn.analysis.records import Category
from mechunlearn.analysis.report import Report
from mechunlearn.progress import duration, remaining, track, work
from mechunlearn.report import table, terminal
from mechunlearn.report.summary import NOT_MEANT, not_meant, sentences
from mechunlearn.report.table import show


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], str]:
    """What a terminal of so many columns shows of the example."""

    def shown(width: int, report: Report) -> str:
        file = io.StringIO()
        console = Console(file=file, force_terminal=True, width=width, color_system=None)
        for module in (table, terminal):
            monkeypatch.setattr(module, "results", lambda: console)
        show(report)
        return file.getvalue()

    return shown


@pytest.mark.parametrize(
    ("width", "there", "left_out"),
    [
        (60, "sham", "no room for: control, on original, retain"),
        (80, "control", "no room for: on original"),
        (120, "on original", ""),
    ],
)
def test_a_table_fits(
    screen: Callable[..., str], example_report: Report, width: int, there: str, left_out: str
) -> None:
    lines = screen(width, example_report).splitlines()
    assert max(map(len, lines)) <= width
    head = next(line for line in lines if line.lstrip().startswith("accuracy"))
    assert there in head
    assert (left_out in " ".join(lines)) if left_out else not any("no room" in x for x in lines)
    row = next(line for line in lines if "direction ablation" in line)
    assert "95.8 [92, 98]" in row


def test_a_pipe_gets_one_value_a_cell(
    example_report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    show(example_report)
    out, err = capsys.readouterr()
    head, *rows = (line.split("\t") for line in out.splitlines())
    assert {len(row) for row in rows} == {len(head)}
    values = {(row[0], row[2]): dict(zip(head, row, strict=True)) for row in rows}
    assert values["rmu", "direction_ablation"]["accuracy"] == "95.8"
    assert values["rmu", "direction_ablation"]["sham"] == "25.0"
    assert values["rmu", "none"]["verdict"] == example_report.model("rmu").verdict.category  # type: ignore[union-attr]
    assert values["rmu", "none"]["recovery"] == ""
    for model in example_report.unlearned:
        assert all(sentence in err for sentence in sentences(example_report, model.label))
        assert len(sentences(example_report, model.label)) == 3


def test_columns_stay_where_they_are_before_any_attack_is_finished(
    example_report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    show(msgspec.structs.replace(example_report, rows=()))
    head, *rows = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert {len(row) for row in rows} == {len(head)}
    values = {(row[0], row[2]): dict(zip(head, row, strict=True)) for row in rows}
    assert values["rmu", "none"]["recovery"] == values["rmu", "none"]["sham"] == ""
    retain = example_report.model("rmu").sets["retain"].value
    assert values["rmu", "none"]["retain"] == f"{100 * retain:.1f}"


def test_what_a_verdict_does_not_mean(example_report: Report) -> None:
    for category in get_args(Category):
        assert any(category.startswith(start) for start in NOT_MEANT)
    text = not_meant(example_report, "rmu")
    assert "it takes what the attack does" in text
    assert "n = 240" in text


def test_columns_that_must_stay_do() -> None:
    heads = [terminal.Head("a", words=True), terminal.Head("b")]
    assert terminal.fitting(heads, [["x" * 50, "y" * 50]], 10) == (0, 1)


def test_a_step_is_a_line_and_says_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    with work("audit", 4.0, 2) as step:
        step("rmu: baseline", 1.0)
        assert list(track(range(3), "inside")) == [0, 1, 2]
        step("rmu: lens", 3.0)
    out, err = capsys.readouterr()
    first, second = err.splitlines()
    assert out == ""
    assert first.startswith("1/2 rmu: baseline, ")
    assert first.endswith(" left")
    assert second == "2/2 rmu: lens"


def test_a_terminal_has_one_bar_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80)
    monkeypatch.setattr("mechunlearn.progress.console", console)
    live = sys.modules["mechunlearn.progress"]._live
    with work("audit", 2.0, 2) as step:
        outer = live.bar
        assert list(track("ab", "inside")) == ["a", "b"]
        assert live.bar is outer is not None
        step("one", 1.0)
        assert len(outer.tasks) == 1
    assert live.bar is None
    assert "1/2 one" in file.getvalue()


def test_time_left() -> None:
    assert remaining(0, 5, 3.0) == ""
    assert remaining(1, 5, 30.0) == "2 min left"
    assert duration(0.1) == "1 s"
