"""What results show of themselves in a notebook."""

import sys
import types
from typing import Any

import numpy as np
import pytest
import torch

from mechunlearn import progress
from mechunlearn.train import TrainLog
from mechunlearn.types import Change, Direction, Hook, Score
from mechunlearn.types.display import table

BAD = "<script>alert(1)</script>"
THINGS = (
    Score(BAD, np.eye(4), np.array([0, 1, 2, 0])),
    Direction(BAD, (1, 2), torch.tensor([[3.0, 4.0], [0.0, 0.0]])),
    Change(BAD, hooks=(Hook(BAD, lambda x, hook: x),)),
    TrainLog({BAD: [2.0, 1.0]}, [{"step": 2, BAD: 0.5}]),
)


@pytest.mark.parametrize("thing", THINGS, ids=lambda t: type(t).__name__)
def test_names_are_escaped(thing: Any) -> None:
    shown = thing._repr_html_()
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown


def test_they_show_their_numbers() -> None:
    score, direction, change, log = (thing._repr_html_() for thing in THINGS)
    assert "75.0%" in score
    assert "<td>4</td>" in score
    assert "layer 1" in direction
    assert "length 5" in direction
    assert "<th>weight edits</th><td>0</td>" in change
    assert "2 at first, 1 at last" in log


def test_answers_that_are_no_numbers_are_not_shown_as_wrong_ones() -> None:
    logits = np.eye(4)
    logits[2] = np.nan
    score = Score("broken", logits, np.arange(4))
    assert score.nonfinite == 1
    assert "n=4, 1 not finite)" in repr(score)
    assert "<th>not finite</th><td>1</td>" in score._repr_html_()
    assert "not finite" not in repr(THINGS[0])


def test_plain_text_is_short_too() -> None:
    assert all(len(repr(thing)) < 150 for thing in THINGS)


def test_a_table_has_a_row_for_each_name() -> None:
    assert table({"a": 1, "b": 2}, "t").count("<tr>") == 2


class Display:
    """Stands for IPython's display handle."""

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []

    def __call__(self, data: dict[str, str], **kwargs: object) -> "Display":
        self.shown.append(data)
        return self

    def update(self, data: dict[str, str], raw: bool) -> None:
        self.shown.append(data)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Display:
    display = Display()
    module = types.ModuleType("IPython.display")
    module.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(progress, "NOTEBOOK", True)
    monkeypatch.setattr(progress, "INTERVAL", -1.0)
    return display


def test_a_notebook_shows_a_bar_that_goes_away(notebook: Display) -> None:
    assert list(progress.track(range(3), BAD)) == [0, 1, 2]
    first, *bars, last = notebook.shown
    assert first == last == {}
    assert len(bars) == 3
    assert 'value="2" max="3"' in bars[-1]["text/html"]
    assert "<script" not in str(notebook.shown)


def test_the_bar_goes_away_after_an_error(notebook: Display) -> None:
    items = progress.track(iter("ab"), "x")
    next(items)
    with pytest.raises(KeyError):
        items.throw(KeyError())  # type: ignore[attr-defined]
    assert notebook.shown[-1] == {}


def test_elsewhere_nothing_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(progress.track(range(3), "x")) == [0, 1, 2]
    assert capfd.readouterr() == ("", "")
