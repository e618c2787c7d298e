"""Reports of schema 1: every committed one opens with the same numbers, damaged ones say where."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from mechunlearn.analysis.migrate import report_from
from mechunlearn.analysis.records import Row
from mechunlearn.analysis.report import Report
from mechunlearn.analysis.significance import significant

FIGURES = Path(__file__).parents[2] / "figures"
COMMITTED = [
    file
    for file in sorted(FIGURES.glob("audit-*/*.json"))
    if "details" in json.loads(file.read_text())
]
SAME = (
    "attack", "n", "recovery", "recovery_ci", "difference", "difference_ci", "gap", "gap_ci",
    "detectable", "within_limit", "flops", "seconds",
)  # fmt: skip
MOVED = {
    "model": "unlearned",
    "variant": "settings",
    "value": "accuracy",
    "value_ci": "accuracy_ci",
    "p": "p_value",
    "p_adjusted": "p_holm",
    "sham": "sham_accuracy",
    "compared": "control_accuracy",
    "original": "original_accuracy",
    "retain": "retain_accuracy",
}
"""Keys of a row in schema 2 and in schema 1."""


def listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@pytest.fixture
def old() -> dict[str, Any]:
    """A report of schema 1 with every part that there is."""
    return json.loads((FIGURES / "audit-attacks" / "all-seed0.json").read_text())


@pytest.mark.parametrize("file", COMMITTED, ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_every_committed_report_opens_with_the_same_numbers(file: Path) -> None:
    before = json.loads(file.read_text())
    report = Report.load(file)
    assert len(report.rows) == len(before["rows"])
    for row, was in zip(report.rows, before["rows"], strict=True):
        assert_same(row, was)
    for label, sets in before["baselines"].items():
        model = next(m for m in report.models if m.label == label or m.role == label)
        assert {k: (m.value, listed(m.value_ci), m.n) for k, m in model.sets.items()} == {
            k: (x["accuracy"], x["accuracy_ci"], x["n"]) for k, x in sets.items()
        }
    for model in report.unlearned:
        assert model.verdict is not None
        assert model.verdict.text == before["details"][model.label]["verdict"]
        hits = [row for row in report.rows_of(model.label) if significant(row)]
        assert model.verdict.category.startswith("hidden") <= bool(hits)


def assert_same(row: Row, was: dict[str, Any]) -> None:
    assert {k: listed(getattr(row, k)) for k in SAME} == {k: was[k] for k in SAME}
    assert {k: listed(getattr(row, k)) for k in MOVED} == {k: was[v] for k, v in MOVED.items()}
    assert row.tier == ("A" if was["control"] == "never_knew" else "C")


def test_what_figures_draw_is_there(old: dict[str, Any]) -> None:
    report = report_from(old, "it", Report)
    findings = report.findings_of("rmu")
    detail = old["details"]["rmu"]
    curves = detail["attacks"]["relearning_disjoint"]["unlearned"]["curves"]
    course = findings.courses["relearning_disjoint"]["unlearned"]
    assert [len(c.points) for c in course.curves] == [len(c["points"]) for c in curves]
    assert course.curves[0].points[-1].value == curves[0]["points"][-1]["accuracy"]
    assert {"lens", "projection"} <= {
        kind for arms in findings.traces.values() for kinds in arms.values() for kind in kinds
    }
    assert findings.union is not None
    assert findings.union.n_lost == detail["union"]["n_lost"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("rows", 0, "n"), "many", r"it: .*\$\.rows\[0\]\.n"),
        (("rows", 0, "accuracy_ci"), [0.1], r"it: .*\$\.rows\[0\]\.value_ci"),
        (("runcard", "machine"), 3, r"it: .*\$\.runcard\.machine"),
        (("runcard", "task", "n"), None, r"it: .*\$\.runcard\.task\.n"),
        (("baselines", "original", "forget", "n"), 1.5, r"it: .*\$\.models\[0\]\.sets"),
        (("rows",), {}, "is damaged .*rows: Expected `array`"),
        (("details",), [], "it says it is a report of schema 1, but is damaged"),
        (("baselines",), None, "it says it is a report of schema 1, but is damaged"),
    ],
)
def test_a_damaged_report_is_one_line_that_names_the_place(
    old: dict[str, Any], path: tuple[Any, ...], value: Any, message: str
) -> None:
    damaged = at = copy.deepcopy(old)
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    with pytest.raises(ValueError, match=message) as caught:
        report_from(damaged, "it", Report)
    assert "\n" not in str(caught.value)


def test_a_report_without_categories_gets_them_and_names_damaged_rows() -> None:
    first = json.loads((FIGURES / "audit-attacks" / "rmu-seed0.json").read_text())
    assert "category" not in first["details"]["rmu"]
    report = report_from(first, "it", Report)
    assert report.model("rmu").verdict.category == "hidden, shallow"
    assert report.findings_of("rmu").union is None
    first["rows"][2]["n"] = "many"
    with pytest.raises(ValueError, match=r"rows: Expected `int`, got `str` - at `\$\[2\]\.n`"):
        report_from(first, "it", Report)


@pytest.mark.parametrize("data", [{"schema": 3}, {"schema": "2"}, {}, [], None, 7])
def test_other_schemas_are_refused(data: Any) -> None:
    with pytest.raises(ValueError, match="it is no mechunlearn report of schema 1 or 2"):
        report_from(data, "it", Report)


def test_unknown_keys_are_refused(example_report: Report, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    example_report.save(file)
    data = json.loads(file.read_text())
    data["rows"][0]["colour"] = "red"
    with pytest.raises(ValueError, match=r"unknown field `colour` - at `\$\.rows\[0\]`"):
        report_from(data, "it", Report)
