"""What readers outside rely on: the shipped JSON schema, and the keys of a report."""

import json
from pathlib import Path
from typing import Any

from mechunlearn.analysis.report import Report
from mechunlearn.analysis.schema import FILE, report_schema
from mechunlearn.records import decoded

ROLES = {"original", "never_knew", "unlearned", "control", "planted"}
ROW = {
    "model", "attack", "family", "n", "value", "value_ci", "recovery", "recovery_ci", "p",
    "p_adjusted", "sham", "control", "original", "retain",
}  # fmt: skip


def test_the_shipped_schema_is_the_generated_one() -> None:
    assert FILE.read_text(encoding="utf-8") == report_schema(), (
        "write it again with: python -m mechunlearn.analysis.schema"
    )


def test_the_schema_names_what_outside_readers_need() -> None:
    schema = json.loads(report_schema())
    records = schema["$defs"]
    assert schema["$ref"] == "#/$defs/Report"
    assert {"schema", "runcard", "models", "rows"} <= set(records["Report"]["properties"])
    assert set(records["Row"]["required"]) >= ROW
    assert {"label", "role", "sets"} <= set(records["Model"]["required"])
    assert set(records["Model"]["properties"]["role"]["enum"]) == ROLES
    assert set(records["Measured"]["required"]) == {"value", "value_ci", "n"}
    assert {"category", "tier", "text"} <= set(records["Verdict"]["required"])


def test_a_written_report_has_these_keys_and_is_read_back(
    example_report: Report, tmp_path: Path
) -> None:
    file = tmp_path / "report.json"
    example_report.save(file)
    data: dict[str, Any] = json.loads(file.read_text())
    assert data["schema"] == 2
    assert {"command", "seed", "models", "task", "machine"} <= set(data["runcard"])
    for model in data["models"]:
        assert model["role"] in ROLES
        assert all(set(m) == {"value", "value_ci", "n"} for m in model["sets"].values())
        assert (model["verdict"] is None) == (model["role"] != "unlearned")
    assert all(set(row) >= ROW for row in data["rows"])
    assert decoded(file.read_bytes(), Report, str(file)) == example_report
