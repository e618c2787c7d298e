"""The command trace: a table of all models, and its file."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mechunlearn.cli import app
from mechunlearn.records import read_record
from mechunlearn.studies.separation import BENIGN, SeparationResult


@pytest.mark.long
def test_everything_is_measured_of_every_model(tmp_path: Path) -> None:
    words = ["trace", "--unlearned", "other=organism:never_knew@1", "--task", "facts"]
    words += ["--benign", "2", "--out", str(tmp_path), "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    read = read_record(tmp_path / "trace.json", SeparationResult)
    assert json.loads(result.stdout)["rows"][0]["model"] == read.rows[0].model
    assert read.command.startswith("mechunlearn trace --unlearned other=")
    by = {(r.model, r.against, r.score): r for r in read.rows}
    models = dict.fromkeys(r.model for r in read.rows)
    assert set(models) == {
        "organism:original",
        "organism:never_knew",
        "other",
        BENIGN,
    }
    assert read.reference == "organism:never_knew"
    known = by["organism:original", "wrong answers", "loss"]
    assert known.auc > 0.97
    assert known.auc_ci[0] <= known.auc <= known.auc_ci[1]
    never = by["organism:never_knew", "wrong answers", "loss"]
    assert never.auc_ci[0] < 0.5 < never.auc_ci[1]
    assert ("organism:original", "retain questions", "shift") not in by
    assert ("organism:never_knew", "wrong answers", "reference") not in by
    assert by[BENIGN, "wrong answers", "loss"].auc > 0.97


def test_it_needs_a_model_that_was_unlearned(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["trace", "--out", str(tmp_path)])
    assert "give --unlearned" in str(result.exception)
    assert not list(tmp_path.iterdir())
