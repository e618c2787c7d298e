"""The one scorer: batched forwards that compute and unembed no more than the answer needs."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from mechunlearn.bench.branches import Branch, branches
from mechunlearn.bench.cache import chosen, extend, new_cache
from mechunlearn.bench.rows import Row, pad, prefix_groups
from mechunlearn.hooks import capture, count_flops, run_blocks, unembed
from mechunlearn.types import HookedModel, Point

BATCH_NUMBERS = {"cpu": 300_000, "cuda": 60_000_000}
"""Activation numbers (tokens x d_model) per batch: 2,300 tokens at d_model 128 were fastest on a
CPU, as were 500 to 1,000 at 576; 4,000 there are half as fast, since they leave the cache."""
KEPT_BLOCKS = 2
"""With a backward pass, a GPU's batch holds this many blocks' worth of the usual numbers."""
WORTH_SPLITTING = 1 / 10
"""Padding, as a share of the tokens a batch may have, from which on another forward costs less."""
WORTH_CACHING = 16
"""Shared prefixes shorter than this many tokens are cheaper to compute again."""


def token_budget(model: HookedModel, *, backward: bool = False) -> int:
    """Tokens per batch; on a GPU fewer where every block's activations are kept (``backward``)."""
    kind = str(model.cfg.device).split(":")[0]
    return tokens_of(kind, model.cfg.d_model, model.cfg.n_layers if backward else 1)


def tokens_of(kind: str, d_model: int, layers: int = 1) -> int:
    """Tokens per batch on a kind of device.

    Args:
        layers: Blocks whose activations are kept for a backward pass.
    """
    numbers = BATCH_NUMBERS.get(kind, BATCH_NUMBERS["cuda"])
    kept = 1 if kind == "cpu" else max(1, layers // KEPT_BLOCKS)
    return max(128, numbers // kept // d_model)


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of rows of similar length, at most ``budget`` padded tokens a batch."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batch and lengths[batch[0]] * (len(batch) + 1) > budget:
            yield from _split(batch, lengths, budget)
            batch = []
        batch.append(i)
    if batch:
        yield from _split(batch, lengths, budget)


def _split(batch: list[int], lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """The batch, longest rows first, in parts where that saves enough padding."""
    longest, n = lengths[batch[0]], len(batch)
    at = max(range(n), key=lambda i: (longest - lengths[batch[i]]) * (n - i))
    if (longest - lengths[batch[at]]) * (n - at) > WORTH_SPLITTING * budget:
        yield from _split(batch[:at], lengths, budget)
        yield from _split(batch[at:], lengths, budget)
    else:
        yield batch


@torch.no_grad()
def read(
    model: HookedModel,
    rows: Sequence[Row],
    points: Sequence[Point],
    *,
    ids: Sequence[int] | None,
    norm: bool = True,
    budget: int | None = None,
) -> dict[Point, Float[np.ndarray, "row choice"]]:
    """Per row and choice the mean of what ``row.reads`` asks for, at every point, in one forward.

    Args:
        ids: The only tokens to unembed, whose logits are read; ``None`` reads log-probabilities
            over the whole vocabulary.
        norm: Whether the final norm is applied before unembedding.
        budget: Tokens per batch.

    Returns:
        For each point ``[row, choice]``; ``-inf`` where a row has fewer choices.
    """
    longest = max(len(r.tokens) for r in rows)
    if model.cfg.n_ctx and longest > model.cfg.n_ctx:
        raise ValueError(
            f"a prompt has {longest} tokens but the model's context is {model.cfg.n_ctx}; "
            "shorten the header or the question"
        )
    n_choices = 1 + max(choice for r in rows for _, _, choice in r.reads)
    out = {p: np.full((len(rows), n_choices), -np.inf) for p in points}
    budget = budget or token_budget(model)
    for shared, group in prefix_groups(rows, WORTH_CACHING, budget):
        prefix = _prefix_cache(model, rows[group[0]].tokens[:shared]) if shared else None
        for batch in batches([len(rows[i].tokens) - shared for i in group], budget):
            picked = [group[i] for i in batch]
            own = [rows[i] for i in picked]
            values = _read_batch(model, own, points, ids, norm, prefix, shared)
            for point in points:
                out[point][picked, : values[point].shape[1]] = values[point]
    return out


def _prefix_cache(model: HookedModel, tokens: list[int]) -> DynamicCache:
    cache = new_cache()
    extend(model, cache, torch.tensor([tokens], device=model.cfg.device))
    return cache


def _read_batch(
    model: HookedModel,
    rows: Sequence[Row],
    points: Sequence[Point],
    ids: Sequence[int] | None,
    norm: bool,
    prefix: DynamicCache | None,
    shared: int,
) -> dict[Point, Float[np.ndarray, "row choice"]]:
    sums, counts = read_sums(model, rows, points, ids, norm, prefix, shared)
    return {
        point: (total / counts).masked_fill(counts == 0, -torch.inf).cpu().numpy()
        for point, total in sums.items()
    }


def read_sums(
    model: HookedModel,
    rows: Sequence[Row],
    points: Sequence[Point],
    ids: Sequence[int] | None = None,
    norm: bool = True,
    prefix: DynamicCache | None = None,
    shared: int = 0,
) -> tuple[dict[Point, Float[Tensor, "row choice"]], Float[Tensor, "row choice"]]:
    """One forward over a batch: per row and choice the sum of its reads at every point.

    Gradients flow where they are enabled, so training reads log-probabilities here as scoring
    does.

    Args:
        prefix: Cached keys and values of the first ``shared`` tokens, which all rows share.

    Returns:
        The sums in float64, and how many reads went into each.
    """
    device = model.cfg.device
    tokens, _ = pad(model, [row.tokens[shared:] for row in rows])
    width = tokens.shape[1]
    # Each place that is read is kept once; ``slot`` says which kept row a read refers to.
    places = sorted({(i, at) for i, row in enumerate(rows) for at, _, _ in row.reads})
    slot_of = {place: slot for slot, place in enumerate(places)}
    pick = torch.tensor([i * width + at - shared for i, at in places], device=device)
    reads = [(i, slot_of[i, at], tok, c) for i, r in enumerate(rows) for at, tok, c in r.reads]
    which, slot, token, choice = torch.tensor(reads, device=device).T
    column = token if ids is None else _column(token, ids)
    kwargs: dict[str, Any] = {}
    if prefix is not None:
        kwargs["past_key_values"] = chosen(
            prefix, torch.zeros(len(rows), dtype=torch.long, device=device)
        )
    if any(len(row.endings) > 1 for row in rows):
        kwargs |= branches(model, [_tree(row, shared) for row in rows], width, shared)
    count_flops(model, tokens.numel())
    with capture(model, points, pick) as kept:
        run_blocks(model, tokens, **kwargs)
    only = None if ids is None else torch.tensor(ids, device=device)
    zeros = torch.zeros(len(rows), int(choice.max()) + 1, dtype=torch.float64, device=device)
    counts = zeros.index_put((which, choice), zeros.new_ones(len(which)), accumulate=True)
    sums = {}
    for point in points:
        logits = unembed(model, kept[point], only, norm).float()
        if ids is None:
            logits = logits.log_softmax(-1)
        sums[point] = zeros.index_put(
            (which, choice), logits[slot, column].double(), accumulate=True
        )
    return sums, counts


def _column(token: Int[Tensor, " read"], ids: Sequence[int]) -> Int[Tensor, " read"]:
    lookup = torch.zeros(max(ids) + 1, dtype=torch.long, device=token.device)
    lookup[torch.tensor(ids, device=token.device)] = torch.arange(len(ids), device=token.device)
    return lookup[token]


def _tree(row: Row, shared: int) -> list[Branch]:
    """The stem, and every ending behind the stem alone."""
    found, start = [Branch(shared, row.stem - shared, shared)], row.stem
    for length in row.endings:
        found.append(Branch(start, length, row.stem))
        start += length
    return found
