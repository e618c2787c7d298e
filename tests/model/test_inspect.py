"""Inspect runs our tasks and models, and reads an audit's answers."""

from pathlib import Path

import pytest

from mechunlearn.analysis.report import Report
from mechunlearn.bench import score
from mechunlearn.models import load
from mechunlearn.report.inspect_log import write_inspect_logs
from mechunlearn.tasks import load_task

inspect_ai = pytest.importorskip("inspect_ai", reason="pip install -e '.[inspect]'")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", ["organism:original", "organism:never_knew"])
def test_inspect_finds_the_accuracy_that_we_find(model: str, tmp_path: Path) -> None:
    from mechunlearn.report.inspect_task import knowledge

    (log,) = inspect_ai.eval(
        knowledge(), model=f"mechunlearn/{model}", limit=40, log_dir=str(tmp_path), display="none"
    )
    assert log.status == "success", log.error
    task = load_task("organism")
    ours = score(load(model), task.questions("forget", "confirm")[:40], task).accuracy
    assert log.results.scores[0].metrics["accuracy"].value == pytest.approx(ours)


def test_an_audits_answers_are_logs(example_report: Report, tmp_path: Path) -> None:
    from inspect_ai.log import read_eval_log

    files = write_inspect_logs(example_report, tmp_path)
    read = {file.stem: read_eval_log(str(file)) for file in files}
    for row in example_report.rows:
        log = read[f"{row.model}-{row.attack}-attacked"]
        (forget,) = (s for s in log.results.scores if s.name == "forget")
        if row.renaming is None:
            assert forget.metrics["accuracy"].value == pytest.approx(row.value, abs=1e-3)
        assert log.eval.metadata["recovery"] == row.recovery
    for model in example_report.models:
        log = read[f"{model.label.replace(' ', '_')}-baseline"]
        right = [
            s for s in log.samples if s.scores.get("forget") and s.scores["forget"].value == "C"
        ]
        measured = model.sets["forget"]
        assert len(right) == round(measured.value * measured.n)
    with pytest.raises(FileExistsError):
        write_inspect_logs(example_report, tmp_path, replace=False)
