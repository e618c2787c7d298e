"""How likely a model finds the answers of examples; differentiable, shared by all training."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from mechunlearn.bench.batches import own_batches
from mechunlearn.bench.engine import arranged, of_equal_length, output, read_sums
from mechunlearn.bench.rotation import reset_rotation
from mechunlearn.bench.rows import Row, branching_rows, placed
from mechunlearn.types import Example, HookedModel

Span = Literal["answer", "prompt_and_answer"]
"""The tokens whose log-probabilities are summed."""


def example_rows(
    model: HookedModel, examples: Sequence[Example], span: Span, limit: int
) -> list[Row]:
    """One row per example, of at most ``limit`` tokens; the reads are the span's tokens.

    Raises:
        ValueError: If there are no examples, or an answer adds no token.
    """
    if not examples:
        raise ValueError("there are no examples to train on")
    prompts, answers = [e.prompt for e in examples], [[e.answer] for e in examples]
    rows = branching_rows(model.tokenizer, prompts, answers, limit)
    if span == "prompt_and_answer":
        for row in rows:
            row.reads[:] = [(i, token, 0) for i, token in enumerate(row.tokens[1:])]
    return rows


def text_rows(model: HookedModel, texts: Sequence[str], limit: int, last: int) -> list[Row]:
    """One row per text, cut to ``limit`` tokens; the reads are its last tokens.

    Args:
        last: How many tokens are read at most.

    Raises:
        ValueError: If there are no texts, or one has fewer than two tokens.
    """
    rows = [ids[:limit] for ids in model.tokenizer(list(texts))["input_ids"]] if texts else []
    if not rows or any(len(row) < 2 for row in rows):
        raise ValueError("there are no texts" if not rows else "a text has fewer than two tokens")
    reads = [[(i - 1, row[i], 0) for i in range(1, len(row))][-last:] for row in rows]
    return [Row(row, read, stem=len(row)) for row, read in zip(rows, reads, strict=True)]


def log_likelihoods(model: HookedModel, rows: Sequence[Row]) -> Float[Tensor, "row choice"]:
    """Summed log-probability of each row's choices; differentiable.

    Rows of different lengths are computed apart, since padding costs as much as words.
    """
    own, owners, near = arranged(model, rows)
    n_choices = 1 + max(choice for row in rows for _, _, choice in row.reads)
    order, parts = [], []
    groups = ([list(range(near))] if near else []) + of_equal_length(own, near)
    for group in groups:
        reset_rotation(model)
        for at in own_batches(model, [len(own[i].tokens) for i in group]):
            batch = [group[i] for i in at]
            items = [owners[i] for i in batch]
            (sums,), _ = read_sums(model, [own[i] for i in batch], [output(model)], items=items)
            parts.append(pad(sums, (0, n_choices - sums.shape[1])))
            order += items
    values = torch.cat(parts)
    if len(own) == len(rows):
        return values[placed(torch.tensor(order).argsort(), values.device)]
    total = values.new_zeros(len(rows), n_choices)
    return total.index_add(0, placed(torch.tensor(order), values.device), values)


def token_log_probabilities(model: HookedModel, rows: Sequence[Row]) -> Float[Tensor, " read"]:
    """Log-probability of every token that the rows read, row after row; differentiable."""
    apart = [
        Row(row.tokens, [(at, t, i) for i, (at, t, _) in enumerate(row.reads)], row.stem)
        for row in rows
    ]
    values = log_likelihoods(model, apart)
    reads = torch.tensor([len(row.reads) for row in rows], device=values.device)
    return values[torch.arange(values.shape[1], device=values.device) < reads[:, None]]
