"""How answers are measured: a measure asks, runs and scores; each has a file of its own here.

A new measure is a class derived from ``Measure`` in a new file and a line in ``registry.MEASURES``:
from ``Measure`` itself where choices are compared, from ``Likelihood`` where a gold answer is read
with the model's own words before it, from ``Generated`` where text is generated and judged.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from mechunlearn.bench.engine import read
from mechunlearn.bench.rows import Row
from mechunlearn.types import HookedModel, PromptFormat, Question, ReadOut, Score


class Measure(ABC):
    """How a question becomes a prompt, and how what a model computes after it becomes a score."""

    shows_choices: ClassVar[bool]
    """Whether the choices stand in the prompt."""
    one_token: ClassVar[bool]
    """Whether every answer is one token, the same for all questions: a letter."""
    compares: ClassVar[bool] = True
    """Whether the answer is one of the choices; else it is a text, compared with gold answers."""
    generates: ClassVar[bool] = False
    """Whether text is generated, which happens at the output only: there is nothing for a lens."""
    words_only: ClassVar[bool] = False
    """Whether text is judged by its words alone, so that kept texts can be judged at any time."""

    def check(self, questions: Sequence[Question]) -> None:
        """Refuse questions that cannot be asked like this.

        Raises:
            ValueError: With the first of them, and what it lacks.
        """
        if self.compares and (alone := next((q for q in questions if len(q.choices) < 2), None)):
            raise ValueError(
                f"question {alone.stem[:60]!r} has no wrong answers to compare with; give some, or "
                "choose a measure of open answers: task.scoring=auto"
            )

    def chance(self, question: Question) -> float:
        """What guessing is worth; of a text 0, since what the form gives away is measured."""
        return 1 / len(question.choices) if self.compares else 0.0

    def right(self, question: Question) -> int:
        """Which of ``answers`` stands for all right ones."""
        return question.answer if self.compares else 0

    @abstractmethod
    def prompt(self, form: PromptFormat, question: Question) -> str:
        """What is asked, without any answer."""

    @abstractmethod
    def answers(self, form: PromptFormat, question: Question) -> tuple[str, ...]:
        """Each choice, or each gold answer, as it continues the prompt."""

    def cue(self, form: PromptFormat) -> str:
        """What every prompt has after the question and its choices; empty where that is nothing."""
        return ""

    @abstractmethod
    def rows(
        self, tokenizer: Any, prompts: Sequence[str], answers: Sequence[Sequence[str]]
    ) -> tuple[list[Row], list[int] | None]:
        """One row per prompt, and the only tokens to unembed (``None``: all).

        Raises:
            ValueError: If the tokenizer cannot express an answer.
        """

    def run(
        self,
        model: HookedModel,
        prompts: Sequence[str],
        answers: Sequence[Sequence[str]],
        read_outs: Sequence[ReadOut],
        budget: int | None = None,
    ) -> list[Float[np.ndarray, "question choice"]]:
        """What each read-out says of every choice, in one forward per batch.

        Args:
            prompts: As they are asked: already rewritten, where a change does that.
            budget: Tokens per batch; the default suits the device.

        Returns:
            Per read-out, the mean of what ``rows`` reads; -inf where there is no such choice.
        """
        rows, ids = self.rows(model.tokenizer, prompts, answers)
        return read(model, rows, read_outs, ids=ids, budget=budget)

    def score(
        self, name: str, logits: Float[np.ndarray, "question choice"], questions: Sequence[Question]
    ) -> Score:
        """What the answers are worth."""
        return Score(name, logits, np.array([self.right(q) for q in questions]))
