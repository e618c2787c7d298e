"""Perplexity on text: what a change costs in general language."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from mechunlearn.bench.batches import in_batches
from mechunlearn.bench.engine import telling
from mechunlearn.bench.rotation import reset_rotation, rotation_limit
from mechunlearn.bench.rows import pad, placed
from mechunlearn.bench.vocabulary import over_rows
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
    losses: list[list[Tensor]] = []
    n_tokens, limit = 0, rotation_limit(model)

    def compute(batch: Sequence[int], group: Sequence[int]) -> None:
        nonlocal n_tokens
        picked = [group[i] for i in batch]
        reset_rotation(model)
        losses.append(_loss(model, [pieces[i] for i in picked], [items[i] for i in picked]))
        n_tokens += sum(len(pieces[i]) - 1 for i in picked)

    with change.on(model):
        for far in (False, True):  # Beyond the limit only rows of one length are turned alike.
            group = [i for i, piece in enumerate(pieces) if (len(piece) > limit) == far]
            lengths = [len(pieces[i]) for i in group]
            in_batches(model, lengths, partial(compute, group=group), alike=far)
    total = sum(sum(part.item() for part in parts) for parts in losses)
    return Perplexity(total / n_tokens, n_tokens)


def _loss(model: HookedModel, pieces: Sequence[list[int]], items: Sequence[int]) -> list[Tensor]:
    """The summed loss of one batch, in parts.

    Args:
        items: Which text each piece is of.
    """
    final = Point(model.cfg.n_layers - 1)
    tokens, real = pad(model, pieces)
    width = tokens.shape[1]
    each = [torch.arange(len(piece) - 1) + i * width for i, piece in enumerate(pieces)]
    pick = placed(torch.cat(each), tokens.device)
    count_flops(model, tokens.numel())
    with capture(model, [final], pick) as activations, telling(items, real):
        run_blocks(model, tokens)
    states, targets = activations[final], tokens.roll(-1, dims=1).flatten()[pick]

    def loss(part: slice) -> Tensor:
        logits = unembed(model, states[part])
        return torch.nn.functional.cross_entropy(logits, targets[part], reduction="sum")

    return over_rows(loss, len(pick), model.cfg.d_vocab, states.device)
