"""Perplexity on text: what an intervention costs in general language."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mechunlearn.bench.engine import batches, token_budget
from mechunlearn.bench.rows import pad
from mechunlearn.hooks import capture, count_flops, run_blocks, unembed
from mechunlearn.types import NO_CHANGE, Change, HookedModel, Point


@dataclass(frozen=True, slots=True)
class Perplexity:
    """``exp`` of the mean negative log-likelihood per token."""

    nats_per_token: float
    n_tokens: int

    @property
    def value(self) -> float:
        """The perplexity."""
        return math.exp(self.nats_per_token)


@torch.no_grad()
def perplexity(model: HookedModel, texts: Sequence[str], change: Change = NO_CHANGE) -> Perplexity:
    """Token-weighted perplexity; texts longer than the context are cut into pieces.

    Raises:
        ValueError: If no text has two tokens.
    """
    context = model.cfg.n_ctx or 2048
    pieces = [
        ids[start : start + context]
        for ids in model.tokenizer(list(texts))["input_ids"]
        for start in range(0, len(ids), context)
    ]
    pieces = [p for p in pieces if len(p) > 1]
    if not pieces:
        raise ValueError("perplexity needs a text of at least two tokens")
    final = Point(model.cfg.n_layers - 1)
    total, n_tokens = 0.0, 0
    with change.on(model):
        for batch in batches([len(p) for p in pieces], token_budget(model)):
            tokens, real = pad(model, [pieces[i] for i in batch])
            real[:, :-1] &= real[:, 1:]  # Positions that have a next token.
            real[:, -1] = False
            pick = real.flatten().nonzero()[:, 0]
            count_flops(model, tokens.numel())
            with capture(model, [final], pick) as kept:
                run_blocks(model, tokens)
            targets = tokens.roll(-1, dims=1).flatten()[pick]
            logits = unembed(model, kept[final]).float()
            loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
            total += loss.item()
            n_tokens += len(pick)
    return Perplexity(total / n_tokens, n_tokens)
