"""The forget questions by a task's further measures, and answers drawn again and again."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from mechunlearn.audit.records import Answers, ByMeasure, Samples
from mechunlearn.bench import edited, score
from mechunlearn.bench.generation import Decoding
from mechunlearn.bench.measures.gold import Generated
from mechunlearn.registry import find
from mechunlearn.types import NO_CHANGE, Change, HookedModel, Question, Score, Scoring, Task

Part = Literal["forget", "hidden", "select", "twins"]
"""Confirm fold, the same with other questions' stems, select fold, questions nobody can know."""
Asked = Mapping[Part, Sequence[Question]]
"""Questions by part."""


def measures(task: Task, change: Change = NO_CHANGE) -> tuple[Scoring, ...]:
    """Further measures that can be taken under a change.

    A change that asks in a form of its own has no other, and where it reads inside there is no
    generated text. Where the task's own answers are texts, their words are judged afterwards.
    """
    if change.form is not None:
        return ()
    inside = change.read_out is not None
    texts = find("measure", task.scoring).generates
    return tuple(
        name
        for name, measure in ((name, find("measure", name)) for name in task.also)
        if not measure.generates or not (inside or (texts and measure.words_only))
    )


class Further(NamedTuple):
    """What is kept beside the verdict's answers; field names are those of the records."""

    also: dict[str, ByMeasure] | UnsetType = UNSET
    samples: Samples = UNSET

    def beside(self, shams: Sequence[Mapping[Scoring, Score]]) -> "Further":
        """With the confirm fold under every placebo, by the same measures."""
        if isinstance(self.also, UnsetType):
            return self
        also = {
            name: replace(by, shams=tuple(Answers.of(own[name]) for own in shams))
            for name, by in self.also.items()
        }
        return self._replace(also=also)


def further(
    model: HookedModel,
    task: Task,
    asked: Asked,
    seed: int,
    change: Change = NO_CHANGE,
) -> Further:
    """Everything that a task wants beside its own measure, of a model under a change.

    Args:
        asked: What is measured; samples are drawn of ``forget``.
        seed: Of samples.
    """
    names = measures(task, change)
    if not names and not task.samples:
        return Further()
    with edited(model, change) as rest:
        taken = {part: scores_by(model, task, names, of, rest) for part, of in asked.items() if of}
        also = {name: _by({part: of[name] for part, of in taken.items()}) for name in names}
        return Further(also or UNSET, _drawn(model, task, asked["forget"], seed, rest))


def _by(scores: Mapping[Part, Score]) -> ByMeasure:
    answers = {part: Answers.of(score) for part, score in scores.items()}
    return ByMeasure(
        forget=answers["forget"],
        hidden=answers.get("hidden", UNSET),
        select=answers.get("select", UNSET),
        twins=answers.get("twins", UNSET),
    )


def scores_by(
    model: HookedModel,
    task: Task,
    names: Sequence[Scoring],
    asked: Sequence[Question],
    change: Change = NO_CHANGE,
) -> dict[Scoring, Score]:
    """Questions by several measures; text is generated once for all."""
    scores: dict[Scoring, Score] = {}
    said: Sequence[str] | None = None
    for name in names:
        measure = find("measure", name)
        generated = isinstance(measure, Generated)
        if generated and said is not None:
            scores[name] = measure.score_texts(change.name, said, asked)
            continue
        scores[name] = score(model, asked, task.measured_by(name), change=change)
        if generated:  # What other measures say is read beside the gold answer.
            said = scores[name].texts
    return scores


def _drawn(
    model: HookedModel, task: Task, asked: Sequence[Question], seed: int, change: Change
) -> Samples:
    """Answers drawn of each question; none in a form of its own."""
    if not task.samples or change.form is not None:
        return UNSET
    decoding = Decoding(samples=task.samples, temperature=1.0, seed=seed)
    measure = find("measure", task.scoring)
    return tuple(measure.samples(model, asked, task.prompt, decoding, change))
