"""What relearning trains on: facts, text, or questions about something else."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mechunlearn.attacks.protocol import Confirm, Trace
from mechunlearn.attacks.relearning_settings import Data, RelearningConfig
from mechunlearn.attacks.seen import Seen
from mechunlearn.bench.likelihood import example_rows, text_rows
from mechunlearn.bench.rows import Row
from mechunlearn.tasks.exchange import Item, apart
from mechunlearn.types import HookedModel

WORDS = 3
"""In a row: what counts as the same wording."""


@dataclass(frozen=True, slots=True)
class Lessons:
    """Rows to train on."""

    rows: Sequence[Row]
    """What is taught."""
    retain: Sequence[Row] = ()
    """Retain facts, trained on beside them so that they are not lost."""


def items_of(seen: Seen, data: Data, n: int) -> list[Item]:
    """``n`` evenly spaced items of one kind of data (0: all).

    Raises:
        ValueError: If there are none, or fewer than ``n``.
    """
    pool = _pool(seen, data)
    if not pool:
        raise ValueError(f"the task has no data for relearning from {data}")
    if n > len(pool):
        raise ValueError(f"relearning from {data}: samples={n}, but there are only {len(pool)}")
    n = n or len(pool)
    return [pool[i * len(pool) // n] for i in range(n)]


def _pool(seen: Seen, data: Data) -> Sequence[Item]:
    if data == "text":
        return seen.plain_text
    if data == "questions":
        return seen.plain_examples
    if data == "tested":
        return [seen.example(q) for q in seen.tested]
    return [seen.example(q) for q in (seen.forget if data == "disjoint" else seen.retain)]


def rows_of(model: HookedModel, items: Sequence[Item], config: RelearningConfig) -> list[Row]:
    """Items in tokens, as many of each as the settings allow and the model's context holds."""
    limit = min(config.max_tokens, model.cfg.n_ctx or config.max_tokens)
    texts, examples = apart(items)
    if texts:
        return text_rows(model, texts, limit, limit)
    return example_rows(model, examples, config.span, limit)


class WordingTrace(Trace, frozen=True):
    """How much of the tested questions' wording was trained on; what comes back follows it.

    Yoon et al. 2026, arXiv:2602.03379: after as many steps, syntax decides and not the topic. Rows
    of words stand in for syntax here: they are counted without a parser, in any language with
    spaces, and hold words of the topic too.
    """

    kind: ClassVar[str] = "wording"
    share: float
    """Of the rows of ``WORDS`` words in the questions, those that occur in what was trained on."""


def wording_trace(model: HookedModel, confirm: Confirm, items: Sequence[Item]) -> WordingTrace:
    """The wording of the reported forget questions in what was trained on."""
    texts = [item if isinstance(item, str) else item.prompt + item.answer for item in items]
    return WordingTrace(share=round(shared_wording([q.stem for q in confirm.forget], texts), 4))


def shared_wording(stems: Sequence[str], texts: Sequence[str]) -> float:
    """Share of the stems' rows of ``WORDS`` words that occur in some text; case does not count."""
    known = {row for text in texts for row in _word_rows(text)}
    asked = [row for stem in stems for row in _word_rows(stem)]
    return sum(row in known for row in asked) / max(1, len(asked))


def _word_rows(text: str) -> list[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return [tuple(words[i : i + WORDS]) for i in range(len(words) - WORDS + 1)]
