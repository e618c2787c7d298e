"""Repeating a run from what it wrote: it agrees, and a number that was not measured is found."""

import dataclasses
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mechunlearn.analysis.analyse import audit
from mechunlearn.analysis.report import Report
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.cli import app
from mechunlearn.studies.rerun import rerun


@pytest.mark.ci
@pytest.mark.usefixtures("loaded_once")
def test_an_audit_agrees_with_itself_and_not_with_another_number(
    tiny_plan: AuditPlan, tmp_path: Path
) -> None:
    plan = dataclasses.replace(tiny_plan, attacks=("logit_lens",), changes=())
    first = audit(plan, tmp_path / "first")
    again = CliRunner().invoke(
        app, ["rerun", str(tmp_path / "first"), "--out", str(tmp_path / "again"), "--json"]
    )
    assert again.exit_code == 0, again.output
    found = json.loads(again.stdout)
    assert (found["agrees"], found["changes"]) == (True, [])
    assert first.rows == Report.load(tmp_path / "first").rows
    assert first.rows == Report.load(tmp_path / "again").rows

    file = tmp_path / "first" / "report.json"
    claimed = json.loads(file.read_text())
    row = claimed["rows"][0]
    row["value"], row["value_ci"] = 0.98, [0.95, 1.0]
    file.write_text(json.dumps(claimed))
    other = CliRunner().invoke(app, ["rerun", str(file), "--out", str(tmp_path / "again")])
    assert other.exit_code == 1
    assert "does not agree" in other.output
    assert "98" in other.output


@pytest.mark.ci
@pytest.mark.usefixtures("loaded_once")
def test_some_attacks_alone_are_repeated(tiny_plan: AuditPlan, tmp_path: Path) -> None:
    changes = ("quantization.bits=(4,)",)
    plan = dataclasses.replace(tiny_plan, attacks=("logit_lens", "quantization"), changes=changes)
    first = audit(plan, tmp_path / "first")
    found = rerun(tmp_path / "first", tmp_path / "again", sample=1, seed=3)
    ((model, attack),) = found.cells
    assert found.agrees
    assert found.changes == []
    again = Report.load(tmp_path / "again" / model)
    (row,) = again.rows
    (before,) = (r for r in first.rows if (r.model, r.attack) == (model, attack))
    assert (row.value, row.recovery, row.control) == (before.value, before.recovery, before.control)

    file = tmp_path / "first" / "report.json"
    claimed = json.loads(file.read_text())
    for row in claimed["rows"]:
        row["value"], row["value_ci"] = 0.98, [0.95, 1.0]
    file.write_text(json.dumps(claimed))
    other = rerun(file, tmp_path / "again", sample=1, seed=3)
    assert [c.what for c in other.changes] == [f"{model}, {attack}, accuracy"]
    assert not other.agrees
    with pytest.raises(ValueError, match="--sample 9 of 2 attacks"):
        rerun(file, tmp_path / "again", sample=9)


def test_only_runs_can_be_repeated(tmp_path: Path) -> None:
    file = tmp_path / "some.json"
    file.write_text('{"some": "thing"}')
    with pytest.raises(ValueError, match="describes no run"):
        rerun(file, tmp_path / "out")
    with pytest.raises(ValueError, match="cannot be read"):
        rerun(tmp_path / "none.json", tmp_path / "out")
    file.write_text('{"plan": {"method": "rmu"}, "accuracy": {"forget": {"after": "high"}}}')
    with pytest.raises(ValueError, match=r"accuracy"):
        rerun(file, tmp_path / "out")
