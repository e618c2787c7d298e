"""Cloze: a statement is completed; each choice's mean log-probability per token is compared."""

from collections.abc import Sequence
from typing import Any

from mechunlearn.bench.measures import Measure
from mechunlearn.bench.rows import Row, branching_rows
from mechunlearn.types import PromptFormat, Question


class Cloze(Measure):
    """See the module."""

    shows_choices = False
    one_token = False

    def prompt(self, form: PromptFormat, question: Question) -> str:
        """See ``Measure``."""
        return form.cloze_prompt(question)[0]

    def answers(self, form: PromptFormat, question: Question) -> tuple[str, ...]:
        """See ``Measure``."""
        return tuple(form.cloze_prompt(question)[1])

    def rows(
        self, tokenizer: Any, prompts: Sequence[str], answers: Sequence[Sequence[str]]
    ) -> tuple[list[Row], list[int] | None]:
        """See ``Measure``; a row is the statement, then every ending."""
        return branching_rows(tokenizer, prompts, answers), None


CLOZE = Cloze()
