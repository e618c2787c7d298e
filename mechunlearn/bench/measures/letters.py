"""Letters: choices stand in the prompt; the logits of their letters at its end are compared."""

from collections.abc import Sequence
from typing import Any

from mechunlearn.bench.measures import Measure
from mechunlearn.bench.rows import Row, single_tokens
from mechunlearn.types import LETTERS, PromptFormat, Question

TAIL = 24
"""Characters at the end of a prompt that decide how a letter behind it is read."""


class Letters(Measure):
    """See the module."""

    shows_choices = True
    one_token = True

    def prompt(self, form: PromptFormat, question: Question) -> str:
        """See ``Measure``."""
        return form.letter_prompt(question)

    def answers(self, form: PromptFormat, question: Question) -> tuple[str, ...]:
        """See ``Measure``."""
        letters = LETTERS[: len(question.choices)]
        return tuple(form.answer.format(letter=letter) for letter in letters)

    def cue(self, form: PromptFormat) -> str:
        """See ``Measure``."""
        return form.letter.partition("{choices}")[2]

    def rows(
        self, tokenizer: Any, prompts: Sequence[str], answers: Sequence[Sequence[str]]
    ) -> tuple[list[Row], list[int] | None]:
        """See ``Measure``; a row is read at its last token only.

        Raises:
            ValueError: If letters are not one token each, or not the same after all prompts.
        """
        letters = max(answers, key=len)
        ids = single_tokens(tokenizer, prompts[0], letters)
        for prompt in {p[-TAIL:]: p for p in prompts}.values():  # Most formats end all alike.
            if (others := single_tokens(tokenizer, prompt, letters)) != ids:
                raise ValueError(
                    f"letters are tokens {ids} after {prompts[0][-TAIL:]!r} and {others} after "
                    f"{prompt[-TAIL:]!r}; let all prompts end alike, such as in 'Answer:'"
                )
        rows = []
        for tokens, own in zip(tokenizer(list(prompts))["input_ids"], answers, strict=True):
            reads = [(len(tokens) - 1, ids[i], i) for i in range(len(own))]
            rows.append(Row(tokens, reads, stem=len(tokens)))
        return rows, ids


LETTER = Letters()
