"""What models answer by one measure, and asked again and again; part of the report's records."""

from typing import Literal

from mechunlearn.analysis.leak import LeakCurve
from mechunlearn.analysis.row import Row
from mechunlearn.records import Interval, Record


class Measured(Record, frozen=True):
    """A model's answers to a question set."""

    value: float
    """Mean value; of questions with choices the share that is right."""
    value_ci: Interval
    n: int


class MeasureTable(Record, frozen=True):
    """The forget questions of the confirm fold by a measure that is not the verdict's."""

    models: dict[str, Measured]
    """Without any attack, by label."""
    rows: tuple[Row, ...]
    """Attacks; ``retain`` and ``variant`` are by the task's measure."""


class Leak(Record, frozen=True):
    """leak@k of a model, from answers that were drawn of each question."""

    model: str
    attack: str
    """Empty: none."""
    against: Literal["never knew", "other answers"]
    """What the curve's control is: the never-knew model under the same attack, or the same texts
    held against other questions' gold answers."""
    curve: LeakCurve
    leaking: tuple[int, ...]
    """Samples of each question that leak."""
    said: tuple[str, ...]
    """The sample of each question that tells most."""
