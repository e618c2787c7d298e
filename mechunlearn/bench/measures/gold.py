"""What all measures of gold answers share: how is asked, and what is compared.

The question is asked as a statement to complete, or in words where there is none
(``PromptFormat.cloze``), without any choice in sight; a question with choices can be asked like
this too, and then its right choice is the gold answer.
"""

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from mechunlearn.bench.generation import Decoding, generate, sample
from mechunlearn.bench.measures import Measure
from mechunlearn.bench.rows import Row, branching_rows, encode
from mechunlearn.types import NO_CHANGE, Change, HookedModel, PromptFormat, Question, Score

MOST_TOKENS = 200
"""Of a generated answer; TOFU's."""


def stop_of(form: PromptFormat) -> str:
    """Where plain text is cut, since models go on with the next example; in chat turns end."""
    return form.separator if form.turn.plain else ""


def _cut(text: str, stop: str) -> str:
    return (text.lstrip().partition(stop)[0] if stop else text).strip()


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
    words_only: ClassVar[bool] = True

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
        texts = generate(model, prompts, self.most_tokens(model.tokenizer, answers))
        return [_cut(text, stop) for text in texts]

    def most_tokens(self, tokenizer: Any, answers: Sequence[Sequence[str]]) -> int:
        """Of a generated answer."""
        longest = max(len(encode(tokenizer, text)) for own in answers for text in own)
        return min(MOST_TOKENS, 2 * longest + 4)

    def samples(
        self,
        model: HookedModel,
        questions: Sequence[Question],
        form: PromptFormat,
        decoding: Decoding,
        change: Change = NO_CHANGE,
    ) -> list[tuple[str, ...]]:
        """Texts drawn of each question under a change, as long as greedy ones may be."""
        answers = [self.answers(form, q) for q in questions]
        decoding = dataclasses.replace(
            decoding, max_tokens=self.most_tokens(model.tokenizer, answers)
        )
        prompts = [self.prompt(form, q) for q in questions]
        drawn = sample(model, prompts, decoding, change, form.turn)
        return [tuple(_cut(text, stop_of(form)) for text in own) for own in drawn]

    def score_texts(self, name: str, said: Sequence[str], questions: Sequence[Question]) -> Score:
        """What generated texts are worth."""
        nothing = np.zeros((len(questions), 1))
        right = np.zeros(len(questions), dtype=int)
        worth = np.array(self.judged(said, questions), dtype=float)
        return Score(name, nothing, right, worth, tuple(said))
