"""Repeating a run from what it wrote: it agrees, and a number that was not measured is found."""

import json
from pathlib import Path

from typer.testing import CliRunner

from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.run import audit
from mechunlearn.cli import app


def test_an_audit_agrees_with_itself_and_not_with_another_number(
    tiny_plan: AuditPlan, tmp_path: Path
) -> None:
    first = audit(tiny_plan, tmp_path / "first")
    again = CliRunner().invoke(
        app, ["rerun", str(tmp_path / "first"), "--out", str(tmp_path / "again"), "--json"]
    )
    assert again.exit_code == 0, again.output
    found = json.loads(again.stdout)
    assert (found["agrees"], found["changes"]) == (True, [])
    assert json.loads((tmp_path / "again" / "report.json").read_text())["rows"] == list(first.rows)

    file = tmp_path / "first" / "report.json"
    claimed = json.loads(file.read_text())
    row = claimed["rows"][0]
    row["accuracy"], row["accuracy_ci"] = 0.98, [0.95, 1.0]
    file.write_text(json.dumps(claimed))
    other = CliRunner().invoke(app, ["rerun", str(file), "--out", str(tmp_path / "again")])
    assert other.exit_code == 1
    assert "does not agree" in other.stderr
    assert "98" in other.stderr
