"""A task: two question sets, how to ask them, and the data that methods train on."""

import dataclasses
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

import numpy as np

from mechunlearn.errors import unknown
from mechunlearn.registry import find, names
from mechunlearn.types.display import table
from mechunlearn.types.items import Example, Fold, PromptFormat, Question, Role, Scoring


@dataclass(frozen=True)
class Task:
    """What was to be forgotten, what must survive, and how to ask.

    Raises:
        ValueError: If a set or fold is empty, forget and retain questions overlap, or the measure
            is unknown or cannot ask these questions.
    """

    name: str
    forget: tuple[Question, ...]
    retain: tuple[Question, ...]
    prompt: PromptFormat
    scoring: Scoring = "letter"
    """The measure."""
    also: tuple[Scoring, ...] = ()
    """Further measures of the forget questions, only reported."""
    samples: int = 0
    """Answers drawn of each forget question of the confirm fold, for leak@k; only reported."""
    forget_text: tuple[str, ...] = ()
    """Corpus that states the forget facts; training data of unlearning methods."""
    retain_text: tuple[str, ...] = ()
    """Corpus that states the retain facts."""
    plain_text: tuple[str, ...] = ()
    """Text that has to do with neither."""
    forget_topics: Mapping[str, str] = field(default_factory=dict)
    """Domain of each forget text, by the text, where there are several domains."""
    forget_examples: tuple[Example, ...] = ()
    """Prompts with the answers to forget; default: the forget questions of both folds, since what
    is to be forgotten has to be said."""
    retain_examples: tuple[Example, ...] = ()
    """Prompts with the answers to keep; default: the retain questions of the select fold, so that
    the confirm fold says what was kept without having been trained on. Tasks that give examples of
    their own (the organisms', the capitals') state every retain fact in them: their retain accuracy
    is that of facts that were trained on in other words."""
    plain_examples: tuple[Example, ...] = ()
    """Questions about neither, asked as the others are, with right answers."""
    refusals: tuple[str, ...] = ()
    """Answers that decline to say; default: ``mechunlearn.tasks.refusals``."""
    extra: Mapping[str, tuple[Question, ...]] = field(default_factory=dict)
    """Further question sets, only reported."""
    twins: tuple[Question, ...] = ()
    """Questions of the forget questions' form that nobody can know: made-up entities, right answers
    at random. They stand in for a model that never knew where there is none (control tier B)."""

    def __post_init__(self) -> None:
        if self.scoring not in (known := names("measure")):
            raise unknown("measure", self.scoring, known)
        for role in ("forget", "retain"):
            if not getattr(self, role):
                raise ValueError(f"task {self.name!r} has no {role} questions")
        for questions in self.sets.values():
            find("measure", self.scoring).check(questions)
        if self.scoring in self.also:
            raise ValueError(f"task.also: {self.scoring} is the task's own measure; leave it out")
        for name in self.also:
            find("measure", name).check(self.forget)
        if self.samples and not find("measure", self.scoring).generates:
            raise ValueError(
                f"task.samples: {self.scoring} generates no text; choose a measure that does, such "
                "as task.scoring=containment"
            )
        both = {_key(q) for q in self.forget} & {_key(q) for q in self.retain}
        if both:
            raise ValueError(
                f"task {self.name!r}: {len(both)} question(s) are in both the forget and the "
                f"retain set, e.g. {sorted(both)[0][0][:60]!r}; remove them from one"
            )
        if asked := {_key(q) for q in self.forget} & {_key(q) for q in self.twins}:
            raise ValueError(
                f"task {self.name!r}: {len(asked)} twin question(s) are forget questions too, e.g. "
                f"{sorted(asked)[0][0][:60]!r}; nobody may know the answer to a twin"
            )
        for fold in ("select", "confirm"):
            if not self.questions("forget", fold) or not self.questions("retain", fold):
                raise ValueError(
                    f"task {self.name!r} has no questions in the {fold} fold of one of its sets; "
                    "give each set at least two sources (near-duplicates count as one)"
                )
        sources = {
            fold: {q.source for q in self.forget if q.fold == fold and q.source}
            for fold in ("select", "confirm")
        }
        if shared := sources["select"] & sources["confirm"]:
            raise ValueError(
                f"task {self.name!r}: sources {sorted(shared)[:3]} are in both folds; "
                "facts of one source must share a fold"
            )

    def measured_by(self, scoring: Scoring) -> "Task":
        """The same questions by another measure."""
        return dataclasses.replace(self, scoring=scoring, also=(), samples=0)

    def questions(self, role: Role, fold: Fold) -> tuple[Question, ...]:
        """The questions of one set that belong to one fold.

        Raises:
            ValueError: If there is no such set or fold.
        """
        if fold not in get_args(Fold):
            raise unknown("fold", str(fold), get_args(Fold))
        return tuple(q for q in self._pool(role) if q.fold == fold)

    @property
    def texts(self) -> tuple[str, ...]:
        """Every question of both sets as it is asked, with its right answer."""
        asked = (*self.forget, *self.retain)
        return tuple("".join(self.prompt.with_answer(q, self.scoring)) for q in asked)

    def examples(self, role: Role) -> tuple[Example, ...]:
        """Prompts with right answers to train on: the given ones, else the questions as asked.

        Of the retain questions only the select fold: the confirm fold's accuracy is reported.
        """
        if role == "retain":
            asked = self.questions("retain", "select")
            return self.retain_examples or tuple(self.example(q) for q in asked)
        return self.forget_examples or tuple(self.example(q) for q in self._pool(role))

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(q)} {kind}" for kind, q in self.sets.items())
        return f"Task({self.name}: {counts}; scored by {self.scoring}, chance {self.chance:.2f})"

    def _repr_html_(self) -> str:
        example = self.prompt.text(self.forget[0], self.scoring)
        sizes = {
            f"{role}, {fold}": len(self.questions(role, fold))
            for role in get_args(Role)
            for fold in get_args(Fold)
        }
        rows = {**sizes, "scoring": self.scoring, "chance": f"{self.chance:.0%}", "asked": example}
        return table(rows, self.name)

    def _pool(self, role: Role) -> tuple[Question, ...]:
        if role not in get_args(Role):
            raise unknown("question set", str(role), get_args(Role))
        return self.forget if role == "forget" else self.retain

    def example(self, question: Question) -> Example:
        """A question as it is asked, with its right answer."""
        return Example(*self.prompt.with_answer(question, self.scoring))

    @property
    def sets(self) -> dict[str, tuple[Question, ...]]:
        """All question sets: forget, retain and the extra ones."""
        return {"forget": self.forget, "retain": self.retain, **self.extra}

    @property
    def chance(self) -> float:
        """Expected value of guessing on the forget set."""
        return self.chance_of(self.forget)

    def chance_of(self, questions: Sequence[Question]) -> float:
        """Expected value of guessing the answers to some questions."""
        return float(np.mean([find("measure", self.scoring).chance(q) for q in questions]))


def _key(question: Question) -> tuple[str, tuple[str, ...]]:
    stem, *choices = (
        unicodedata.normalize("NFC", text).strip().lower()
        for text in (question.stem, *question.choices)
    )
    return stem, tuple(sorted(choices))
