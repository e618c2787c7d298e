"""The forget questions by a task's further measures, and answers drawn again and again."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from mechunlearn.audit.records import Answers, ByMeasure, Samples
from mechunlearn.bench import edited, score_sets
from mechunlearn.bench.generation import Decoding
from mechunlearn.bench.hidden import with_other_stems
from mechunlearn.registry import find
from mechunlearn.types import NO_CHANGE, Change, HookedModel, Question, Score, Scoring, Task

Part = Literal["forget", "hidden", "select"]
"""Confirm fold, the same with other questions' stems, select fold."""
Asked = tuple[Sequence[Question], Task]
"""Questions, and how they are asked and measured."""


def measures(task: Task, change: Change = NO_CHANGE) -> tuple[Scoring, ...]:
    """Further measures that can be taken under a change.

    A change that asks in a form of its own has no other, and where it reads inside there is no
    generated text.
    """
    if change.form is not None:
        return ()
    inside = change.read_out is not None
    return tuple(m for m in task.also if not (inside and find("measure", m).generates))


def asked_by(
    task: Task, names: Sequence[Scoring], parts: Sequence[Part] = ("forget",)
) -> list[Asked]:
    """What is to be scored, and how: for every measure each part of the forget questions."""
    confirm = task.questions("forget", "confirm")
    questions: dict[Part, Sequence[Question]] = {
        "forget": confirm,
        "hidden": with_other_stems(confirm),
        "select": task.questions("forget", "select"),
    }
    return [(questions[part], task.measured_by(name)) for name in names for part in parts]


class Further(NamedTuple):
    """What is kept beside the verdict's answers; field names are those of the records."""

    also: dict[str, ByMeasure] | UnsetType = UNSET
    samples: Samples = UNSET

    def beside(self, shams: Sequence[Sequence[Score]]) -> "Further":
        """With the confirm fold under every placebo, by the same measures in the same order."""
        if isinstance(self.also, UnsetType):
            return self
        also = {
            name: replace(by, shams=tuple(Answers.of(own[i]) for own in shams))
            for i, (name, by) in enumerate(self.also.items())
        }
        return self._replace(also=also)


def further(
    model: HookedModel,
    task: Task,
    seed: int,
    change: Change = NO_CHANGE,
    parts: Sequence[Part] = ("forget",),
) -> Further:
    """Everything that a task wants beside its own measure, of a model under a change.

    Args:
        seed: Of samples.
    """
    names = measures(task, change)
    if not names and not task.samples:
        return Further()
    also: dict[str, ByMeasure] = {}
    with edited(model, change) as rest:
        for name in names:
            scores = score_sets(model, asked_by(task, [name], parts), rest)
            found = dict(zip(parts, map(Answers.of, scores), strict=True))
            also[name] = ByMeasure(
                forget=found["forget"],
                hidden=found.get("hidden", UNSET),
                select=found.get("select", UNSET),
            )
        return Further(also or UNSET, _drawn(model, task, seed, rest))


def _drawn(model: HookedModel, task: Task, seed: int, change: Change) -> Samples:
    """Answers drawn of each forget question of the confirm fold; none in a form of its own."""
    if not task.samples or change.form is not None:
        return UNSET
    decoding = Decoding(samples=task.samples, temperature=1.0, seed=seed)
    asked, measure = task.questions("forget", "confirm"), find("measure", task.scoring)
    return tuple(measure.samples(model, asked, task.prompt, decoding, change))
