"""The same attacks by other measures: in which kind of answer does knowledge come back?

Of open answers the texts are kept, so that every measure of words judges them anew; a task's
further measures (``task.also``) were taken with the models at hand. Each measure has a table of its
own, with the arms and the test of the verdict's, and decides nothing: settings were chosen by the
task's measure, and retain accuracy is by that one too.
"""

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from mechunlearn.analysis.answers import measured, questions_of, sources_of, values
from mechunlearn.analysis.arms import arms_of
from mechunlearn.analysis.records import MeasureTable, Row
from mechunlearn.analysis.rows import rows_of
from mechunlearn.audit.cells import Cell
from mechunlearn.audit.evidence import Evidence
from mechunlearn.audit.records import (
    Answers,
    AttackResult,
    BaselineResult,
    ByMeasure,
    CellFile,
    Kind,
    Result,
)
from mechunlearn.bench.hidden import with_other_stems
from mechunlearn.bench.measures.gold import Generated
from mechunlearn.registry import find, names
from mechunlearn.types import Question, Scoring, Task

A = TypeVar("A", Answers, UnsetType, Answers | UnsetType)


def by_measure(evidence: Evidence) -> dict[str, MeasureTable]:
    """Models and attacks by every further measure that their answers allow."""
    task = evidence.setup.task
    judges = _judges(task)
    return {m: _table(evidence, m, judges.get(m)) for m in dict.fromkeys((*task.also, *judges))}


def _judges(task: Task) -> dict[str, Generated]:
    """Measures by which texts that are kept can be judged anew."""
    if not find("measure", task.scoring).generates:
        return {}
    found = {name: find("measure", name) for name in names("measure") if name != task.scoring}
    return {k: m for k, m in found.items() if m.words_only}


def _table(evidence: Evidence, measure: Scoring, judge: Generated | None) -> MeasureTable:
    task = evidence.setup.task.measured_by(measure)
    results: dict[str, CellFile] = {}
    for key, file in evidence.results.items():
        taken = _taken(file.result, measure) if judge is None else _judged(file.result, judge, task)
        if taken is not None:
            results[key] = msgspec.structs.replace(file, result=_counted(file.result, taken))
    setup = dataclasses.replace(evidence.setup, task=task)
    view = _View(setup, results, evidence.making, first=evidence)
    rows: list[Row] = []
    for entry in setup.unlearned:
        done = [a for a in evidence.complete_on(entry.label) if view.whole(entry.label, a)]
        rows += rows_of(view, entry.label, {a: arms_of(view, entry.label, a) for a in done})
    sources = sources_of(questions_of(task, "forget"))
    models = {
        entry.label: measured(values(view.answers(entry.label, "forget")), sources)
        for entry in setup.entries
    }
    return MeasureTable(models=models, rows=tuple(rows))


@dataclasses.dataclass
class _View(Evidence):
    """Evidence whose answers count by another measure; its cells are those that were computed."""

    first: Evidence = dataclasses.field(kw_only=True)

    @cached_property
    def cells(self) -> dict[tuple[Kind, str, str], Cell]:
        """See ``Evidence``."""
        return self.first.cells

    @cached_property
    def further(self) -> dict[tuple[str, str], list[Cell]]:
        """See ``Evidence``."""
        return self.first.further


def _taken(result: Result, measure: Scoring) -> ByMeasure | None:
    """Answers that were measured with the model at hand."""
    return None if isinstance(result.also, UnsetType) else result.also.get(measure)


def _judged(result: Result, judge: Generated, task: Task) -> ByMeasure:
    """The texts of a result as another measure judges them."""
    asked = questions_of(task, "forget")
    disguised = with_other_stems(asked)

    def again(answers: A, questions: Sequence[Question] = asked) -> A:
        if isinstance(answers, UnsetType):
            return answers
        said = [str(text) for text in answers.said]
        worth = judge.judged(said, questions[: len(said)])
        return msgspec.structs.replace(answers, values=tuple(worth))

    if isinstance(result, BaselineResult):
        return ByMeasure(
            forget=again(result.sets["forget"]),
            hidden=again(result.hidden, disguised),
            twins=again(result.sets.get("twins", UNSET), task.twins),
        )
    if isinstance(result, AttackResult):
        return ByMeasure(
            forget=again(result.forget),
            hidden=again(result.hidden, disguised),
            shams=tuple(map(again, result.shams)),
            twins=again(result.twins, task.twins),
        )
    return ByMeasure(forget=again(result.forget))


def _counted(result: Result, taken: ByMeasure) -> Result:
    """The result with these answers; variants were tried by the task's measure alone."""
    if isinstance(result, BaselineResult):
        others = {"forget_select": taken.select, "twins": taken.twins}
        asked = {name: x for name, x in others.items() if not isinstance(x, UnsetType)}
        sets = {**result.sets, "forget": taken.forget, **asked}
        return msgspec.structs.replace(result, sets=sets, hidden=taken.hidden)
    if isinstance(result, AttackResult):
        return msgspec.structs.replace(
            result,
            forget=taken.forget,
            hidden=taken.hidden,
            shams=taken.shams,
            twins=taken.twins,
            tried=(),
        )
    return msgspec.structs.replace(result, forget=taken.forget)
