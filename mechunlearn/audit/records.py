"""What an audit keeps of each cell: the store's file format, in one place.

``FOLDER/store.json`` is a ``StoreFile``, ``FOLDER/cells/KIND-KEY.json`` a ``CellFile``. Answers are
kept as they were given: what each is worth, what was said, and how far the best choice was ahead.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from msgspec import UNSET, UnsetType

from mechunlearn.environment import MachineCard
from mechunlearn.models.cards import ModelCard
from mechunlearn.records import Plain, Record
from mechunlearn.types import Score

SCHEMA = 2
"""Version of these records."""
Kind = Literal["baseline", "attack", "control", "ceiling"]
"""``baseline``: a model's answers without any attack; ``attack``: choice of settings, confirm fold
and shams on the unlearned model; ``control`` and ``ceiling``: the chosen settings on the
never-knew model and on the original."""
ModelRole = Literal["original", "never_knew", "unlearned", "control", "planted"]
"""``control``: a never-knew model that went through the same unlearning; ``planted``: the original
with its knowledge hidden, the positive control."""
TIE = -1
"""What stands for a choice where the best ones tie exactly."""


class Answers(Record, frozen=True):
    """A model's answers to some questions, in the order of the questions."""

    values: tuple[float, ...]
    """What each is worth, in [0, 1]."""
    said: tuple[int | str, ...]
    """Index of the choice, ``TIE`` for a tie; or the text of an open answer."""
    margins: tuple[float, ...]
    """How far the best choice is ahead of the second best, in the measure's unit; 0 where that is
    no finite number."""
    nonfinite: int | UnsetType = UNSET
    """Questions without a finite best choice, where there are any."""

    @classmethod
    def of(cls, score: Score) -> "Answers":
        """What is kept of a score; margins to six digits."""
        nonfinite = score.nonfinite
        margins = np.where(np.isfinite(score.margins), score.margins, 0.0)
        said = score.predictions.tolist() if score.texts is None else score.texts
        return cls(
            values=tuple(map(float, np.nan_to_num(score.values))),
            said=tuple(said),
            margins=tuple(float(f"{x:.6g}") for x in margins),
            nonfinite=nonfinite or UNSET,
        )

    @property
    def mean(self) -> float:
        """Mean value."""
        return sum(self.values) / len(self.values)


class ByMeasure(Record, frozen=True):
    """Answers to the forget questions of the confirm fold by a further measure."""

    forget: Answers
    hidden: Answers | UnsetType = UNSET
    """Each with another question's stem."""
    shams: tuple[Answers, ...] = ()
    """Under placebos."""
    select: Answers | UnsetType = UNSET
    """To the forget questions of the select fold."""
    twins: Answers | UnsetType = UNSET
    """To questions of the same form that nobody can know."""


Samples = tuple[tuple[str, ...], ...] | UnsetType
"""Texts drawn of each forget question of the confirm fold, where the task wants some."""


class Guessing(Record, frozen=True):
    """What is right without knowing, on the forget questions of the confirm fold."""

    no_question: float
    """The original, with the question hidden."""
    majority_position: float
    """Always the commonest position."""
    chance: float


class BaselineResult(Record, frozen=True, tag="baseline"):
    """A model's answers without any attack."""

    sets: dict[str, Answers]
    """``forget`` and ``retain`` (confirm fold), ``forget_select`` and ``retain_select``, the task's
    further sets, and ``twins`` where they are asked."""
    model: ModelCard
    versions: dict[str, str]
    machine: MachineCard
    guessing: Guessing | None = None
    """Of the original only."""
    hidden: Answers | UnsetType = UNSET
    """Forget questions of the confirm fold, each with another question's stem."""
    also: dict[str, ByMeasure] | UnsetType = UNSET
    """By the task's further measures, where there are some."""
    samples: Samples = UNSET


class BriefAnswers(Record, frozen=True):
    """The answers under a variant that was tried: a character each, so that a grid stays small."""

    values: str | tuple[float, ...]
    """``0`` or ``1`` each; numbers where an answer can be worth something between."""
    said: str | tuple[int | str, ...]
    """Index of the choice each, ``-`` for a tie; empty where answers are texts, which are kept of
    the chosen variant only."""

    @classmethod
    def of(cls, answers: Answers) -> "BriefAnswers":
        """What is kept of answers, without their margins."""
        values: str | tuple[float, ...] = answers.values
        if all(value in (0.0, 1.0) for value in answers.values):
            values = "".join("1" if value else "0" for value in answers.values)
        return cls(values=values, said=marks(answers.said))


def marks(said: Sequence[int | str]) -> str | tuple[int | str, ...]:
    """Choices as a character each; nothing of texts."""
    if any(isinstance(x, str) for x in said):
        return ""
    if all(isinstance(x, int) and x < 10 for x in said):
        return "".join("-" if x == TIE else str(x) for x in said)
    return tuple(said)


class Tried(Record, frozen=True):
    """A variant that was tried on the select fold."""

    variant: Plain
    forget: float
    """Mean value on the forget questions that decide."""
    retain: float | None
    """On the retain questions that decide, where it was measured."""
    answers: BriefAnswers
    """To the forget questions that decide."""


class Stage(Record, frozen=True):
    """A measurement while an attack trains the model."""

    variant: Plain
    """``None`` before training."""
    run: str
    steps: int
    samples: int
    tokens: int
    """Of forget information so far."""
    flops: int
    retain: float
    """Mean value on retain questions of the select fold that were not trained on."""
    confirm: Answers
    """To the forget questions of the confirm fold."""


class AttackResult(Record, frozen=True, tag="attack"):
    """One attack on one unlearned model: the choice, and what was measured at it."""

    variant: Plain
    within_limit: bool
    flops: int
    forget: Answers
    """Confirm fold, under the attack."""
    retain: Answers
    """Confirm fold, under the attack."""
    shams: tuple[Answers, ...]
    """Confirm fold, under placebos; empty for read-outs."""
    tried: tuple[Tried, ...]
    decided_by: tuple[int, ...] | None
    """Places, in the select fold, of the forget questions that decided; ``None``: all."""
    stages: tuple[Stage, ...]
    traces: dict[str, Plain]
    """What is worth drawing, by kind."""
    hidden: Answers | UnsetType = UNSET
    """Confirm fold, under the attack, each question with another one's stem: what is right there
    was not known."""
    twins: Answers | UnsetType = UNSET
    """Under the attack, questions of the same form that nobody can know, where the task has some
    and there is no model that never knew."""
    also: dict[str, ByMeasure] | UnsetType = UNSET
    """Under the attack, by the task's further measures."""
    samples: Samples = UNSET


class ControlResult(Record, frozen=True, tag="control"):
    """The same attack on a model that never knew.

    At the same settings; an adaptive one at those that its own search chose there.
    """

    forget: Answers
    stages: tuple[Stage, ...]
    traces: dict[str, Plain]
    also: dict[str, ByMeasure] | UnsetType = UNSET
    samples: Samples = UNSET


class CeilingResult(Record, frozen=True, tag="ceiling"):
    """The chosen variant on the original itself."""

    forget: Answers
    traces: dict[str, Plain]
    also: dict[str, ByMeasure] | UnsetType = UNSET


Result = BaselineResult | AttackResult | ControlResult | CeilingResult


class CellFile(Record, frozen=True):
    """A finished cell."""

    schema: int
    kind: Kind
    model: str
    attack: str
    inputs: dict[str, Plain]
    """Everything that the result depends on; its hash is in the file's name."""
    seconds: float
    result: Result
    checksum: str
    """SHA-256 of the result as it was written; an edited or damaged cell is computed again."""


class StoreFile(Record, frozen=True):
    """What a folder holds results of."""

    schema: int
    plan: dict[str, Plain]
    threads: int
    """Of the arithmetic; other numbers of threads give other last digits."""


class CheckpointFile(Record, frozen=True):
    """What decided the weights of a model that the audit made."""

    lineage: dict[str, Plain]
    seconds: float | None = None
    """How long it took; ``None`` before it is finished."""
    weights: str = ""
    """Hash of the finished model's files; empty before, and in notes of earlier versions."""
