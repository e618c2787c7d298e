"""Two runs side by side: the same, moved a little, moved beyond the intervals."""

import json

import pytest

from mechunlearn.analysis.compare import compare, rerun
from mechunlearn.analysis.records import Report


def changed(report: Report, **numbers: object) -> Report:
    data = json.loads(json.dumps(report.to_dict()))
    data["rows"][0] |= numbers
    return Report.from_dict(data)


def test_a_run_does_not_differ_from_itself(example_report: Report) -> None:
    assert compare(example_report, example_report) == []


def test_a_small_move_is_within_and_a_large_one_beyond(example_report: Report) -> None:
    row = example_report.rows[0]
    low, high = row["accuracy_ci"]
    for after, beyond in ((row["accuracy"] - 0.01, False), (row["accuracy"] - 0.3, True)):
        ci = [low - row["accuracy"] + after, high - row["accuracy"] + after]
        (change,) = compare(example_report, changed(example_report, accuracy=after, accuracy_ci=ci))
        assert change.what == f"{row['unlearned']}, {row['attack']}, accuracy"
        assert (change.before, change.after) == (row["accuracy"], after)
        assert change.beyond is beyond


def test_a_number_that_only_one_run_has_is_named(example_report: Report) -> None:
    gone = changed(example_report, recovery=None, recovery_ci=None)
    (change,) = compare(example_report, gone)
    assert change.what.endswith("recovery")
    assert change.after is None
    assert change.beyond


def test_only_runs_can_be_repeated(tmp_path: object) -> None:
    with pytest.raises(ValueError, match="describes no run"):
        rerun({"some": "thing"}, tmp_path)  # type: ignore[arg-type]
