"""An audit as tables: every row, baseline and answer, with the types that pandas reads."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from mechunlearn.analysis.records import Questions, QuestionSet
from mechunlearn.analysis.report import Report
from mechunlearn.report.parquet import write_parquet

FORGET = QuestionSet(
    stem=("a?", "b?", "c?", "d?"),
    topic=("",) * 4,
    choices=(("w", "x", "y", "z"),) * 4,
    right=(0, 1, 2, 3),
)


def test_tables_hold_what_the_report_holds(tmp_path: Path, example_report: Report) -> None:
    questions = Questions(
        sets={"forget": FORGET},
        models={"rmu": {"forget": "0120"}},
        attacked={"rmu": {"gcg": {"forget": "01-."}}},
        control={},
    )
    report = replace(example_report, questions=questions)
    written = write_parquet(report, tmp_path / "out")
    assert [p.name for p in written] == ["rows.parquet", "baselines.parquet", "answers.parquet"]
    rows, baselines, answers = (pq.read_table(p).to_pylist() for p in written)
    first = report.rows[0]
    assert len(rows) == len(report.rows)
    assert (rows[0]["value_low"], rows[0]["value_high"]) == first.value_ci
    assert json.loads(rows[0]["variant"]) == first.variant
    forget = next(b for b in baselines if (b["model"], b["set"]) == ("rmu", "forget"))
    assert forget["value"] == report.model("rmu").sets["forget"].value
    assert forget["role"] == "unlearned"
    assert len(answers) == 7  # One was not asked.
    attacked = [a for a in answers if a["arm"] == "attacked"]
    assert [a["said"] for a in attacked] == [0, 1, None]
    assert [a["correct"] for a in attacked] == [True, True, False]


def test_a_report_without_questions_has_no_answers(tmp_path: Path, example_report: Report) -> None:
    written = write_parquet(replace(example_report, questions=None), tmp_path / "out")
    assert [p.name for p in written] == ["rows.parquet", "baselines.parquet"]
    with pytest.raises(ValueError, match="no rows"):
        write_parquet(replace(example_report, rows=()), tmp_path / "out")
