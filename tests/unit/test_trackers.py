"""What a tracker is sent, and what is said when there is none."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from mechunlearn.analysis.report import Report
from mechunlearn.errors import PrerequisiteError
from mechunlearn.report import trackers


def test_a_tracker_gets_every_number_once(
    example_report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, Any]] = []
    fake = SimpleNamespace(
        init=lambda **given: calls.append(("init", given)),
        log=lambda data: calls.append(("log", data)),
        finish=lambda: calls.append(("finish", None)),
    )
    monkeypatch.setitem(sys.modules, "trackio", fake)
    monkeypatch.setattr(trackers, "find_spec", lambda name: object())
    trackers.track(example_report, "trackio", "run-1")
    assert [name for name, _ in calls] == ["init", "log", "finish"]
    assert calls[0][1]["name"] == "run-1"
    sent, row = calls[1][1], example_report.rows[0]
    assert sent[f"{row.model}/{row.attack}/value"] == row.value
    original = example_report.original
    assert sent[f"{original.label}/forget"] == original.sets["forget"].value
    assert all(isinstance(value, float) for value in sent.values())


def test_missing_trackers_are_named(
    example_report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="unknown tracker 'wanb'; did you mean 'wandb'"):
        trackers.track(example_report, "wanb", "x")
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(PrerequisiteError, match="pip install trackio"):
        trackers.track(example_report, "trackio", "x")
