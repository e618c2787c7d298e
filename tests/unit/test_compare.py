"""Two runs side by side: the same, moved a little, moved beyond the intervals, and why."""

import msgspec

from mechunlearn.analysis.compare import compare, differences
from mechunlearn.analysis.report import Report


def changed(report: Report, **numbers: object) -> Report:
    first = msgspec.structs.replace(report.rows[0], **numbers)
    return msgspec.structs.replace(report, rows=(first, *report.rows[1:]))


def test_a_run_does_not_differ_from_itself(example_report: Report) -> None:
    assert compare(example_report, example_report) == []
    assert differences([example_report, example_report]) == {}


def test_a_small_move_is_within_and_a_large_one_beyond(example_report: Report) -> None:
    row = example_report.rows[0]
    low, high = row.value_ci
    for after, beyond in ((row.value - 0.01, False), (row.value - 0.3, True)):
        ci = (low - row.value + after, high - row.value + after)
        (change,) = compare(example_report, changed(example_report, value=after, value_ci=ci))
        assert change.what == f"{row.model}, {row.attack}, accuracy"
        assert (change.before, change.after) == (row.value, after)
        assert change.beyond is beyond


def test_a_number_that_only_one_run_has_is_named(example_report: Report) -> None:
    gone = changed(example_report, recovery=None, recovery_ci=None)
    (change,) = compare(example_report, gone)
    assert change.what.endswith("recovery")
    assert change.after is None
    assert change.beyond


def test_runs_of_other_threads_plans_and_weights_are_told_apart(example_report: Report) -> None:
    card = example_report.runcard
    model = card.models["rmu"]
    other = msgspec.structs.replace(
        card,
        machine=msgspec.structs.replace(card.machine, threads=7),
        settings=card.settings | {"seed": 1},
        models=card.models | {"rmu": msgspec.structs.replace(model, fingerprint="other")},
    )
    apart = differences([example_report, msgspec.structs.replace(example_report, runcard=other)])
    assert apart == {
        "plan: seed": [0, 1],
        "machine: threads": [card.machine.threads, 7],
        "weights: rmu": [model.fingerprint, "other"],
    }


def test_changed_questions_are_named_and_older_reports_do_not_say(example_report: Report) -> None:
    reports = []
    for revision in (msgspec.UNSET, "1a2b", "3c4d"):
        task = msgspec.structs.replace(example_report.runcard.task, revision=revision)
        card = msgspec.structs.replace(example_report.runcard, task=task)
        reports.append(msgspec.structs.replace(example_report, runcard=card))
    old, first, second = reports
    assert differences([first, second]) == {"questions, texts and prompts": ["1a2b", "3c4d"]}
    assert differences([old, second]) == {}
    assert differences([first, first]) == {}
