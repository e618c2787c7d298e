"""An audit as tables: every row, baseline and answer, with the types that pandas reads."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mechunlearn.analysis.records import Report
from mechunlearn.report.parquet import write_parquet


def cell(kind: str, attack: str, predictions: dict[str, str], **more: object) -> dict[str, object]:
    result = {"predictions": predictions, **more}
    return {"schema": 1, "kind": kind, "model": "rmu", "attack": attack, "result": result}


def test_tables_hold_what_the_report_holds(tmp_path: Path, example_report: Report) -> None:
    cells = tmp_path / "cells"
    cells.mkdir()
    right = {"forget": "0123", "retain": "32"}
    found = {
        "a": cell("baseline", "", {"forget": "0120", "retain": "32"}, answers=right),
        "b": cell("attack", "gcg", {"attacked": "01-3", "retain": "3-"}),
    }
    for name, data in found.items():
        (cells / f"{name}.json").write_text(json.dumps(data))
    written = write_parquet(example_report, tmp_path, tmp_path / "out")
    assert [p.name for p in written] == ["rows.parquet", "baselines.parquet", "answers.parquet"]
    rows, baselines, answers = (pq.read_table(p).to_pylist() for p in written)
    first = example_report.rows[0]
    assert len(rows) == len(example_report.rows)
    assert [rows[0]["accuracy_low"], rows[0]["accuracy_high"]] == first["accuracy_ci"]
    assert json.loads(rows[0]["settings"]) == first["settings"]
    forget = next(b for b in baselines if (b["model"], b["set"]) == ("rmu", "forget"))
    assert forget["accuracy"] == example_report.baselines["rmu"]["forget"]["accuracy"]
    assert len(answers) == 12
    attacked = [a for a in answers if (a["kind"], a["set"]) == ("attack", "forget")]
    assert [a["prediction"] for a in attacked] == [0, 1, None, 3]
    assert [a["correct"] for a in attacked] == [True, True, False, True]


def test_a_report_alone_has_no_answers(tmp_path: Path, example_report: Report) -> None:
    written = write_parquet(example_report, tmp_path, tmp_path / "out")
    assert [p.name for p in written] == ["rows.parquet", "baselines.parquet"]
    with pytest.raises(ValueError, match="no rows"):
        write_parquet(Report({}, {}, [], {}), tmp_path, tmp_path / "out")
