"""Every answer of an audit: beside each other for the estimates, with its question for readers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from mechunlearn.analysis.letters import Choices
from mechunlearn.analysis.records import Beside, Measured, Questions, QuestionSet, ReportFile
from mechunlearn.analysis.rounding import short, short_interval
from mechunlearn.analysis.tests import Sources
from mechunlearn.audit.evidence import Evidence
from mechunlearn.audit.records import Answers, AttackResult, BriefAnswers, marks
from mechunlearn.records import Plain
from mechunlearn.registry import find
from mechunlearn.stats import GRADED, Values, mean_interval
from mechunlearn.types import Fold, Question, Role, Task

SETS: dict[str, tuple[Role, Fold]] = {
    "forget": ("forget", "confirm"),
    "forget_select": ("forget", "select"),
    "retain": ("retain", "confirm"),
    "retain_select": ("retain", "select"),
}
"""Question sets by the names that cells use."""
TIED, UNASKED = "-", "."
"""What stands in the report for an exact tie, and where nothing was asked."""
T = TypeVar("T")
U = TypeVar("U", str, float)
OTHERWISE = "another answer"
"""What stands beside a gold answer where text was generated."""


def questions_of(task: Task, name: str) -> tuple[Question, ...]:
    """A question set by the name that cells use."""
    return task.questions(*SETS[name]) if name in SETS else task.extra[name]


def deciding(task: Task, result: AttackResult) -> tuple[Question, ...]:
    """The forget questions of the select fold that chose the variant, in the order of answers."""
    asked = questions_of(task, "forget_select")
    return asked if result.decided_by is None else tuple(asked[i] for i in result.decided_by)


def values(answers: Answers | BriefAnswers) -> Float[np.ndarray, " question"]:
    """What the answers are worth."""
    if isinstance(answers.values, str):
        return (np.frombuffer(answers.values.encode(), dtype=np.uint8) - ord("0")).astype(float)
    return np.array(answers.values, dtype=float)


def sources_of(questions: Sequence[Question]) -> Sources:
    """Numbers of the questions' sources, by first appearance; without one it is its own."""
    names = [q.source or i for i, q in enumerate(questions)]
    numbers = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names])


def measured(worth: Values, sources: Sources) -> Measured:
    """A mean value with its interval, which resamples sources."""
    return Measured(
        value=short(float(worth.mean())),
        value_ci=short_interval(mean_interval(worth, sources)),
        n=len(worth),
    )


def choices(evidence: Evidence, model: str, name: str) -> Choices:
    """The choices that a model makes in a question set without any attack."""
    return Choices.of(evidence.answers(model, name), questions_of(evidence.setup.task, name))


def questions(evidence: Evidence) -> Questions:
    """The questions of an audit with the answers of its finished cells."""
    task = evidence.setup.task
    sets = {name: questions_of(task, name) for name in SETS}
    compares = find("measure", task.scoring).compares
    plain = {
        entry.label: {name: evidence.answers(entry.label, name) for name in SETS}
        for entry in evidence.setup.entries
    }
    attacked: dict[str, dict[str, dict[str, Answers]]] = {}
    control: dict[str, dict[str, dict[str, Answers]]] = {}
    chosen: dict[tuple[str, str], str] = {}
    for model, attack in evidence.complete:
        result = evidence.attack(model, attack)
        under = {"forget": result.forget, "retain": result.retain}
        attacked.setdefault(model, {})[attack] = under
        if (letters := _chosen(result, len(sets["forget_select"]))) is not None:
            chosen[model, attack] = letters
        if (twin := evidence.control(model, attack)) is not None:
            control.setdefault(model, {})[attack] = {"forget": twin.forget}
    marked = {model: _each(of, _marks) for model, of in attacked.items()}
    for (model, attack), letters in chosen.items():
        marked[model][attack]["forget_select"] = letters

    def beside(made: Callable[[Answers], tuple[U, ...]]) -> Beside[U]:
        return Beside(
            models=_each(plain, made),
            attacked={model: _each(of, made) for model, of in attacked.items()},
            control={model: _each(of, made) for model, of in control.items()},
        )

    said = any(_said(x) for sets_ in plain.values() for x in sets_.values())
    return Questions(
        sets={name: _set(asked, compares, task) for name, asked in sets.items()},
        models=_each(plain, _marks),
        attacked=marked,
        control={model: _each(of, _marks) for model, of in control.items()},
        texts=beside(_said) if said and not compares else None,
        margins=beside(_margins) if compares else None,
    )


def _each(
    answers: Mapping[str, Mapping[str, Answers]], made: Callable[[Answers], T]
) -> dict[str, dict[str, T]]:
    """Something of all answers, by what they are of and by set."""
    return {of: {name: made(x) for name, x in sets.items()} for of, sets in answers.items()}


def _set(asked: Sequence[Question], compares: bool, task: Task) -> QuestionSet:
    """Questions with their choices; of open answers the gold one, and whatever is not right."""
    return QuestionSet(
        stem=tuple(q.stem for q in asked),
        topic=tuple(q.topic for q in asked),
        choices=tuple(q.choices if compares else (q.accepted[0], OTHERWISE) for q in asked),
        right=tuple(q.answer if compares else 0 for q in asked),
        shown=task.prompt.text(asked[0], task.scoring) if asked else "",
    )


def _margins(answers: Answers) -> tuple[float, ...]:
    """To two digits: for a reader."""
    return tuple(float(f"{x:.2g}") for x in answers.margins)


def _said(answers: Answers) -> tuple[str, ...]:
    """Texts; nothing where answers are choices."""
    return tuple(x for x in answers.said if isinstance(x, str))


def _marks(answers: Answers | BriefAnswers) -> str:
    """A character an answer: the index of the choice, or a tie."""
    said = answers.said if isinstance(answers.said, str) else marks(answers.said)
    if not said:  # Texts: right if worth more than a half.
        return "".join("0" if value > GRADED else "1" for value in values(answers))
    return "".join(map(str, said))


def _chosen(result: AttackResult, n: int) -> str | None:
    """Select-fold answers of the variant that was chosen by them."""
    tried = next((t for t in result.tried if t.variant == result.variant), None)
    if tried is None:
        return None
    if result.decided_by is None:
        return _marks(tried.answers)
    places = dict(zip(result.decided_by, _marks(tried.answers), strict=True))
    return "".join(places.get(i, UNASKED) for i in range(n))


def answer_rows(report: ReportFile) -> Iterator[dict[str, Plain]]:
    """Every answer that a report holds, as a row of a table.

    ``model``, ``attack`` (empty: none), ``arm`` (``baseline``, ``attacked`` or ``control``, the
    never-knew model under the same attack), ``set``, ``index`` (place in the set, from 0),
    ``stem``, ``topic``, ``said`` and ``right`` (indices of choices; ``said`` is ``None`` for a
    tie), ``correct`` and, of an open answer, ``text``.
    """
    kept = report.questions
    if kept is None:
        return
    for model, sets in kept.models.items():
        for name, letters in sets.items():
            yield from _rows(kept, (model, "", "baseline"), name, letters)
    for arm, models in (("attacked", kept.attacked), ("control", kept.control)):
        for model, attacks in models.items():
            for attack, sets in attacks.items():
                for name, letters in sets.items():
                    yield from _rows(kept, (model, attack, arm), name, letters)


def texts_of(kept: Questions, model: str, attack: str, arm: str, name: str) -> Sequence[str]:
    """What was said to a question set; empty where answers are choices.

    Args:
        arm: As in ``answer_rows``.
    """
    if kept.texts is None:
        return ()
    if arm == "baseline":
        return kept.texts.models[model][name]
    of = kept.texts.attacked if arm == "attacked" else kept.texts.control
    return of[model][attack].get(name, ())


def _rows(
    kept: Questions, about: tuple[str, str, str], name: str, letters: str
) -> Iterator[dict[str, Plain]]:
    asked, (model, attack, arm) = kept.sets[name], about
    texts = texts_of(kept, model, attack, arm, name)
    for i, (mark, right) in enumerate(zip(letters, asked.right, strict=True)):
        if mark != UNASKED:
            yield {
                "model": model,
                "attack": attack,
                "arm": arm,
                "set": name,
                "index": i,
                "stem": asked.stem[i],
                "topic": asked.topic[i],
                "said": None if mark == TIED else int(mark),
                "right": right,
                "correct": mark == str(right),
                "text": texts[i] if texts else None,
            }
