"""Two runs side by side: the same, moved a little, moved beyond the intervals, and why."""

import msgspec

from mechunlearn.analysis.compare import compare, differences
from mechunlearn.analysis.report import Report
from mechunlearn.report.comparison import Comparison


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


def test_numbers_without_an_interval_are_compared_too(example_report: Report) -> None:
    row = example_report.rows[0]
    for field, title in (("sham", "sham"), ("original", "on original"), ("retain", "retain")):
        value = getattr(row, field)
        for by, beyond in ((0.002, False), (0.5, True)):
            after = value - by if value > 0.5 else value + by
            (change,) = compare(example_report, changed(example_report, **{field: after}))
            assert change.what == f"{row.model}, {row.attack}, {title}"
            assert (change.before, change.after, change.beyond) == (value, after, beyond)
    assert row.control is not None
    (change,) = compare(example_report, changed(example_report, control=row.control + 0.4))
    assert change.what.endswith("control")
    assert change.beyond
    (change,) = compare(example_report, changed(example_report, p=1.0))
    assert change.what.endswith(", p")
    assert not change.beyond


def test_a_changed_verdict_is_named(example_report: Report) -> None:
    replace = msgspec.structs.replace
    models = tuple(
        replace(m, verdict=replace(m.verdict, category="no evidence")) if m.label == "rmu" else m
        for m in example_report.models
    )
    other = replace(example_report, models=models)
    verdict = example_report.model("rmu").verdict
    assert verdict is not None
    (change,) = compare(example_report, other)
    assert change.what == f"rmu, verdict: {verdict.category}; then: no evidence"
    assert change.beyond
    # A part of a run has a verdict of attacks that it does not have.
    rows = tuple(row for row in example_report.rows if row is not example_report.rows_of("rmu")[0])
    parts = [replace(report, rows=rows) for report in (example_report, other)]
    assert compare(*parts) == []


def test_several_never_knew_models_are_told_apart(example_report: Report) -> None:
    replace = msgspec.structs.replace
    known = next(m for m in example_report.models if m.role == "never_knew")
    rest = [m for m in example_report.models if m is not known]
    cards = dict(example_report.runcard.models)
    card = cards.pop(known.label)

    def with_controls(*labels: str) -> Report:
        own = {label: replace(card, fingerprint=f"weights of {label}") for label in labels}
        models = (*rest, *(replace(known, label=label) for label in labels))
        runcard = replace(example_report.runcard, models=cards | own)
        return replace(example_report, models=models, runcard=runcard)

    a, both, b = with_controls("a"), with_controls("a", "b"), with_controls("b")
    assert differences([a, both]) == {"weights: never-knew b": ["", "weights of b"]}
    assert differences([both, b]) == {"weights: never-knew a": ["weights of a", ""]}
    assert differences([a, b]) == {"weights: never-knew": ["weights of a", "weights of b"]}
    found = Comparison.of({"one": a, "both": both}).baselines
    shown = {title: [m and m.label for m in models] for title, models in found.items()}
    assert shown["never-knew model a"] == ["a", "a"]
    assert shown["never-knew model b"] == [None, "b"]
    assert "original model" in shown
    assert "never-knew model" in Comparison.of({"one": a, "other": b}).baselines
