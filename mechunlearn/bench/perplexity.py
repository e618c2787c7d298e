"""Perplexity on text: what a change costs in general language."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mechunlearn.bench.engine import batches, telling, token_budget
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
        ValueError: If no text has two tokens, or the change rewrites questions or reads elsewhere.
    """
    context = model.cfg.n_ctx or 2048
    pieces, items = [], []
    for item, ids in enumerate(model.tokenizer(list(texts))["input_ids"]):
        for start in range(0, len(ids), context):
            if len(piece := ids[start : start + context]) > 1:
                pieces.append(piece)
                items.append(item)
    if not pieces:
        raise ValueError("perplexity needs a text of at least two tokens")
    final = Point(model.cfg.n_layers - 1)
    total, n_tokens = 0.0, 0
    with change.on(model):
        for batch in batches([len(p) for p in pieces], token_budget(model)):
            tokens, real = pad(model, [pieces[i] for i in batch])
            continued = real & real.roll(-1, dims=1)
            continued[:, -1] = False
            pick = continued.flatten().nonzero()[:, 0]
            count_flops(model, tokens.numel())
            here = telling([items[i] for i in batch], real)
            with capture(model, [final], pick) as activations, here:
                run_blocks(model, tokens)
            targets = tokens.roll(-1, dims=1).flatten()[pick]
            logits = unembed(model, activations[final]).float()
            loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
            total += loss.item()
            n_tokens += len(pick)
    return Perplexity(total / n_tokens, n_tokens)
