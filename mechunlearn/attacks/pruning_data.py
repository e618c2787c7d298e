"""What pruning reads of a model: what it does on the forget domain, and what must survive."""

from collections.abc import Sequence
from typing import Any

from mechunlearn.attacks.seen import Seen
from mechunlearn.bench.generation import generate
from mechunlearn.bench.likelihood import example_rows, text_rows
from mechunlearn.bench.rows import Row
from mechunlearn.registry import find
from mechunlearn.types import Example, HookedModel

CORPUS, OWN = "forget corpus", "own answers"
LAST_TOKENS = 50
"""Of a text whose likelihood counts, and of own answers."""


def forget_rows(model: HookedModel, seen: Seen, examples: int, limit: int) -> dict[str, list[Row]]:
    """What the model does on the forget domain: on its corpus, and in its own greedy answers."""
    rows = {}
    if seen.forget_text:
        texts = _spread(seen.forget_text, examples)
        rows[CORPUS] = text_rows(model, texts, limit, LAST_TOKENS)
    prompts = [seen.text(q) for q in _spread(seen.asked, examples)]
    short = limit <= 4 * LAST_TOKENS or not find("measure", seen.scoring).one_token
    answers = generate(model, prompts, 8 if short else LAST_TOKENS)
    replies = [seen.prompt.turn.reply(_spaced(answer)) for answer in answers]
    if own := [Example(p, a) for p, a in zip(prompts, replies, strict=True) if a.strip()]:
        rows[OWN] = example_rows(model, own, "answer", limit)
    return rows


def _spaced(text: str) -> str:
    return text if text[:1].isspace() else f" {text}"


def utility_rows(model: HookedModel, seen: Seen, examples: int, limit: int) -> list[Row]:
    """What must survive: benign text, and the retain questions of the select fold, answered."""
    facts = _spread([*map(seen.example, seen.retain)], examples)
    rows = example_rows(model, facts, "answer", limit)
    if seen.plain_text:
        rows += text_rows(model, _spread(seen.plain_text, examples), limit, LAST_TOKENS)
    return rows


def _spread(items: Sequence[Any], n: int) -> list[Any]:
    """At most ``n`` items, evenly spaced."""
    return [items[i * len(items) // n] for i in range(n)] if len(items) > n else list(items)
