"""Another form of the same questions: other letters, another template, another measure."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mechunlearn.types.items import PromptFormat, Question, Scoring, Turn


@dataclass(frozen=True, slots=True)
class Form:
    """Another form in which the same questions are asked and their answers measured.

    Example:
        >>> form = Form("letter", moved=1)
        >>> (moved,) = form.asked([Question("2 + 2 =", ("3", "4", "5"), 1)])
        >>> moved.choices, moved.answer
        (('4', '5', '3'), 0)
    """

    measure: Scoring
    """Instead of the task's."""
    moved: int = 0
    """Places by which the choices move (cyclically)."""
    turn: Turn | None = None
    """The chat template instead of the task's; ``None``: the task's."""
    stems: int | None = None
    """Seed of the order in which stems are exchanged, so that every question is hidden behind
    another one's (``mechunlearn.bench.hidden``); ``None``: each keeps its own."""

    def asked(self, questions: Sequence[Question]) -> list[Question]:
        """The questions with their choices moved."""
        return [q.rotated(self.moved) if self.moved else q for q in questions]

    def format(self, prompt: PromptFormat) -> PromptFormat:
        """How to ask, in this form's template."""
        return prompt if self.turn is None else dataclasses.replace(prompt, turn=self.turn)

    def in_order(
        self, values: Float[np.ndarray, "question choice"], questions: Sequence[Question]
    ) -> Float[np.ndarray, "question choice"]:
        """What was said of the moved choices, in the order of the questions' own choices."""
        if not self.moved:
            return values
        own = values.copy()
        for row, of, question in zip(own, values, questions, strict=True):
            n = len(question.choices)
            row[:n] = np.roll(of[:n], self.moved)
        return own
