"""One audit by several measures: texts judged anew, and facts asked in other forms beside."""

import dataclasses

import pytest

from mechunlearn.analysis.analyse import analyse
from mechunlearn.analysis.report import Report
from mechunlearn.audit.also import scores_by
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.run import run
from mechunlearn.bench import edited, score
from mechunlearn.report.page import render
from mechunlearn.tasks import TaskConfig, load_task
from mechunlearn.types import Change, HookedModel, Task


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The never-knew organism under test beside the original: an attack that only adds noise."""
    plan = AuditPlan(
        original="organism:original",
        unlearned=("gone=organism:never_knew",),
        control="none",
        task="facts",
        attacks=("perturbation_naive",),
        planted="never",
        changes=(
            "task.scoring=containment",
            "task.also=letter,probability",
            "task.samples=4",
            "perturbation_naive.rates=(0.1,)",
            "perturbation_naive.every=(5,)",
        ),
    )
    return analyse(run(plan, tmp_path_factory.mktemp("by") / "run"))


@pytest.mark.long
def test_an_audit_is_measured_by_what_was_said_and_by_further_forms(report: Report) -> None:
    tables = report.by_measure
    assert {"exact_match", "rouge_recall", "token_f1", "letter", "probability"} <= set(tables)
    assert not {"containment", "entailment", "cloze"} & set(tables)
    for name in ("exact_match", "token_f1", "letter", "probability"):
        table = tables[name]
        assert table.models["organism:original"].value > 0.9
        assert table.models["gone"].value < 0.4
        (row,) = table.rows
        assert row.gap == pytest.approx(
            table.models["organism:original"].value - table.models["gone"].value, abs=1e-3
        )
        assert row.p_adjusted > 0.05  # Noise in the question brings nothing back in any form.
        assert row.n == report.rows[0].n


@pytest.mark.long
def test_answers_that_were_drawn_leak_where_the_model_knows(report: Report) -> None:
    original, gone, attacked = report.leaks
    assert (original.model, gone.model, attacked.attack) == (
        "organism:original",
        "gone",
        "perturbation_naive",
    )
    assert {x.against for x in report.leaks} == {"other answers"}  # There is no control here.
    assert original.curve.points[-1].difference_ci[0] > 0.8
    for one in (gone, attacked):
        assert one.curve.points[-1].difference < 0.15
        assert one.curve.samples == 4
        first = one.curve.points[0]
        assert first.leak == pytest.approx(sum(one.leaking) / (4 * len(one.leaking)))
        assert len(one.said) == one.curve.questions == report.rows[0].n
    with pytest.raises(ValueError, match="letter generates no text"):
        load_task("organism", config=TaskConfig(samples=3))


@pytest.mark.long
def test_the_page_has_a_column_for_every_measure(report: Report, example_report: Report) -> None:
    page = render(report)
    assert "By other measures" in page
    assert "leak@4" in page
    assert "figure-leak-gone" in page
    assert all(f">{m.replace('_', ' ')}</th>" in page for m in report.by_measure)
    assert "By other measures" not in render(example_report)


def test_edits_are_made_once_for_all_question_sets(organism: HookedModel, task: Task) -> None:
    made: list[str] = []

    from contextlib import contextmanager

    @contextmanager
    def edit(model: HookedModel):  # type: ignore[no-untyped-def]
        weight = model.blocks[0].mlp.W_out
        before = weight.detach().clone()
        made.append("once")
        weight.data.zero_()
        yield
        weight.data.copy_(before)

    change, asked = Change("broken", edits=(edit,)), task.questions("forget", "confirm")[:16]
    cloze = task.measured_by("cloze")
    with edited(organism, change) as rest:
        together = [score(organism, asked, t, change=rest) for t in (task, cloze)]
    assert made == ["once"]
    apart = [score(organism, asked, t, change=change) for t in (task, cloze)]
    assert [s.logits.tolist() for s in together] == [s.logits.tolist() for s in apart]


def test_further_measures_are_checked_when_the_task_is_made(task: Task) -> None:
    config = TaskConfig(scoring="containment", also=("letter", "cloze"))
    assert load_task("facts", config=config).also == ("letter", "cloze")
    assert load_task("chat", "chat:original").also == ("containment",)
    assert load_task("chat", "chat:original", config=TaskConfig(also=("none",))).also == ()
    with pytest.raises(ValueError, match="unknown scoring 'clozed'; did you mean 'cloze'"):
        TaskConfig(also=("clozed",))
    with pytest.raises(ValueError, match="letter is the task's own measure"):
        dataclasses.replace(task, also=("letter",))


def test_text_is_generated_once_and_judged_as_if_alone(organism: HookedModel, task: Task) -> None:
    asked = task.questions("forget", "confirm")[:16]
    names = ("probability", "extraction_strength", "containment", "token_f1")
    together = scores_by(organism, task, names, asked)
    for name in names:
        alone = score(organism, asked, task.measured_by(name))
        assert together[name].values.tolist() == alone.values.tolist()
        assert together[name].texts == alone.texts
    assert together["containment"].accuracy > 0.9
