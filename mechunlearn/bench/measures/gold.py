"""What all measures of gold answers share: how is asked, and what is compared.

The question is asked as a statement to complete, or in words where there is none
(``PromptFormat.cloze``), without any choice in sight; a question with choices can be asked like
this too, and then its right choice is the gold answer.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from mechunlearn.bench.generation import generate
from mechunlearn.bench.measures import Measure
from mechunlearn.bench.rows import Row, branching_rows, encode
from mechunlearn.types import HookedModel, PromptFormat, Question, Score

MOST_TOKENS = 200
"""Of a generated answer; TOFU's."""


class GoldMeasure(Measure):
    """See the module."""

    shows_choices = False
    one_token = False
    compares: ClassVar[bool] = False

    def prompt(self, form: PromptFormat, question: Question) -> str:
        """See ``Measure``."""
        return form.cloze_prompt(question)[0]

    def answers(self, form: PromptFormat, question: Question) -> tuple[str, ...]:
        """See ``Measure``; every gold answer, the first of them first."""
        return form.endings(question.accepted)

    def cue(self, form: PromptFormat) -> str:
        """See ``Measure``."""
        return form.cloze.partition("{statement}")[2]

    def rows(
        self, tokenizer: Any, prompts: Sequence[str], answers: Sequence[Sequence[str]]
    ) -> tuple[list[Row], list[int] | None]:
        """See ``Measure``; a row is the prompt, then every gold answer: its own tokens are read."""
        return branching_rows(tokenizer, prompts, answers), None


class Generated(GoldMeasure):
    """Text is generated greedily and judged: a new one is one function."""

    generates: ClassVar[bool] = True

    @abstractmethod
    def judge(self, said: str, question: Question) -> float:
        """What a text is worth as an answer, in [0, 1].

        Args:
            said: Text alone, as it was generated.
        """

    def judged(self, said: Sequence[str], questions: Sequence[Question]) -> list[float]:
        """What texts are worth, each as an answer to its question."""
        return [self.judge(text, q) for text, q in zip(said, questions, strict=True)]

    def generate(
        self,
        model: HookedModel,
        prompts: Sequence[str],
        answers: Sequence[Sequence[str]],
        stop: str = "",
    ) -> list[str]:
        """What the model says, in up to twice the tokens of the longest gold answer.

        A limit, since whoever lists everything names the right thing too.

        Args:
            prompts: As they are asked: already rewritten, where a change does that.
            stop: Text is cut where this begins; empty: nowhere.
        """
        longest = max(len(encode(model.tokenizer, text)) for own in answers for text in own)
        texts = generate(model, prompts, min(MOST_TOKENS, 2 * longest + 4))
        if stop:
            texts = [text.lstrip().partition(stop)[0] for text in texts]
        return [text.strip() for text in texts]

    def score_texts(self, name: str, said: Sequence[str], questions: Sequence[Question]) -> Score:
        """What generated texts are worth."""
        nothing = np.zeros((len(questions), 1))
        right = np.zeros(len(questions), dtype=int)
        worth = np.array(self.judged(said, questions), dtype=float)
        return Score(name, nothing, right, worth, tuple(said))
