"""The engine of all scoring: batched forwards that compute no more than the answer needs."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import DynamicCache

from mechunlearn.bench.batches import in_batches, token_budget
from mechunlearn.bench.branches import Branch, branches
from mechunlearn.bench.cache import beginning, extend, new_cache
from mechunlearn.bench.read_outs import LensReadOut
from mechunlearn.bench.rotation import LONGEST, reset_rotation, rotation_limit
from mechunlearn.bench.rows import Row, pad, placed, prefix_groups, separate
from mechunlearn.bench.vocabulary import log_probabilities
from mechunlearn.hooks import capture, count_flops, foreign_hooks, one_forward, run_blocks
from mechunlearn.types import HookedModel, Point, ReadOut, Rows, running, whole_prompts

WORTH_CACHING = 16
"""Shared prefixes shorter than this many tokens are cheaper to compute again."""


def output(model: HookedModel) -> LensReadOut:
    """The read-out of the model's own answer."""
    return LensReadOut(Point(model.cfg.n_layers - 1))


@dataclass(frozen=True, slots=True)
class Prefix:
    """Tokens that all rows of a batch begin with, computed once."""

    length: int
    cache: DynamicCache


def ending(model: HookedModel, tokens: Sequence[int]) -> str:
    """The last words of a prompt, by which a message names it."""
    text: str = model.tokenizer.decode(tokens[-40:])
    return f"...{text[-80:]}"


@torch.no_grad()
def read(
    model: HookedModel,
    rows: Sequence[Row],
    read_outs: Sequence[ReadOut],
    *,
    ids: Sequence[int] | None,
    budget: int | None = None,
) -> list[Float[np.ndarray, "row choice"]]:
    """Per row and choice the mean of what ``row.reads`` asks for, by every read-out.

    All read-outs share one forward per batch. Where a sequence hook is on, every prompt is computed
    whole and every ending in a row of its own; under somebody's own hooks, which may look at
    anything, each of these rows also has a forward of its own.

    Args:
        ids: The only tokens to unembed, whose logits are read; ``None`` reads log-probabilities
            over the whole vocabulary.
        budget: Tokens per batch.

    Returns:
        For each read-out ``[row, choice]``; ``-inf`` where a row has fewer choices.
    """
    n = len(rows)
    rows, owners, near = arranged(model, rows)
    longest = max(rows, key=lambda r: len(r.tokens)).tokens
    if model.cfg.n_ctx and len(longest) > model.cfg.n_ctx:
        raise ValueError(
            f"a prompt has {len(longest)} tokens but the model's context is {model.cfg.n_ctx}; "
            f"shorten the header or the question that ends {ending(model, longest)!r}"
        )
    n_choices = 1 + max(choice for r in rows for _, _, choice in r.reads)
    out = [np.full((n, n_choices), -np.inf) for _ in read_outs]
    at_once = budget or token_budget(model)
    alone = whole_prompts() or not model.shortcuts.sharing
    groups: list[tuple[int, Sequence[int]]] = [(0, range(near))] if near else []
    if near and not alone:
        groups = prefix_groups(rows[:near], WORTH_CACHING, at_once)
    groups += [(0, group) for group in of_equal_length(rows, near)]
    found: list[tuple[list[int], list[Tensor], Tensor]] = []
    for shared, group in groups:
        reset_rotation(model)
        prefix = _prefix(model, rows[group[0]].tokens[:shared]) if shared else None

        def compute(
            batch: Sequence[int], prefix: Prefix | None = prefix, group: Sequence[int] = group
        ) -> None:
            picked = [group[i] for i in batch]
            own, items = [rows[i] for i in picked], [owners[i] for i in picked]
            found.append(
                (items, *read_sums(model, own, read_outs, ids=ids, prefix=prefix, items=items))
            )

        in_batches(model, [len(rows[i].tokens) - shared for i in group], compute, budget)
    for items, sums, counts in found:  # Only now does a GPU have to be waited for.
        read_here = (counts > 0).cpu().numpy()
        at, choice = read_here.nonzero()
        for values, total in zip(out, sums, strict=True):
            values[np.array(items)[at], choice] = (total / counts).cpu().numpy()[read_here]
    return out


def arranged(model: HookedModel, rows: Sequence[Row]) -> tuple[list[Row], list[int], int]:
    """Rows as this model can compute them: its endings packed or apart.

    Returns:
        The rows; which of the given ones each belongs to; and how many of them, from the first on,
        may be computed together and share prefixes. Each of the others is longer than the model
        rotates alike (``rotation_limit``), or with all its endings longer than the context, and
        goes with rows of its own length. So do all under somebody's own hooks.
    """
    limit, context = rotation_limit(model), model.cfg.n_ctx or LONGEST
    by_hand = foreign_hooks(model)
    far = [
        i
        for i, row in enumerate(rows)
        if by_hand or row.stem + max(row.endings, default=0) > limit or len(row.tokens) > context
    ]
    beyond = set(far)
    near = [i for i in range(len(rows)) if i not in beyond]
    together = not whole_prompts() and model.shortcuts.packing
    own, owners = [rows[i] for i in near], near
    if not together:
        own, owners = _separated(rows, near)
    apart, others = _separated(rows, far)
    return own + apart, owners + others, len(own)


def _separated(rows: Sequence[Row], which: Sequence[int]) -> tuple[list[Row], list[int]]:
    own, owners = separate([rows[i] for i in which])
    return own, [which[i] for i in owners]


def of_equal_length(rows: Sequence[Row], start: int) -> list[list[int]]:
    """Indices of the rows from ``start`` on, by their number of tokens."""
    groups: dict[int, list[int]] = {}
    for i in range(start, len(rows)):
        groups.setdefault(len(rows[i].tokens), []).append(i)
    return list(groups.values())


def _prefix(model: HookedModel, tokens: list[int]) -> Prefix:
    cache = new_cache()
    extend(model, cache, placed(torch.tensor([tokens]), model.cfg.device))
    return Prefix(len(tokens), cache)


def read_sums(
    model: HookedModel,
    rows: Sequence[Row],
    read_outs: Sequence[ReadOut],
    *,
    ids: Sequence[int] | None = None,
    prefix: Prefix | None = None,
    items: Sequence[int] | None = None,
) -> tuple[list[Float[Tensor, "row choice"]], Float[Tensor, "row choice"]]:
    """One forward over a batch: per row and choice the sum of its reads, by every read-out.

    Gradients flow where they are enabled, so training reads log-probabilities here as scoring
    does.

    Args:
        ids: As in ``read``.
        prefix: What all rows begin with, where that was computed before.
        items: Which question each row asks, for sequence hooks; default: each its own.

    Returns:
        The sums in float64, and how many reads went into each.
    """
    device = model.cfg.device
    shared = prefix.length if prefix else 0
    tokens, real = pad(model, [row.tokens[shared:] for row in rows])
    width = tokens.shape[1]
    # Each place that is read is kept once; ``slot`` says which kept row a read refers to.
    places = sorted({(i, at) for i, row in enumerate(rows) for at, _, _ in row.reads})
    slot_of = {place: slot for slot, place in enumerate(places)}
    pick = placed(torch.tensor([i * width + at - shared for i, at in places]), device)
    reads = [(i, slot_of[i, at], tok, c) for i, r in enumerate(rows) for at, tok, c in r.reads]
    which, slot, _, choice = placed(torch.tensor(reads), device).T
    column = placed(torch.tensor(_columns([tok for _, _, tok, _ in reads], ids)), device)
    only = None if ids is None else placed(torch.tensor(ids), device)
    kwargs: dict[str, Any] = {}
    if prefix is not None:
        kwargs["past_key_values"] = beginning(prefix.cache)
    if any(len(row.endings) > 1 for row in rows):
        kwargs |= branches(model, [_tree(row, shared) for row in rows], width, shared)
    count_flops(model, tokens.numel())
    points = list(dict.fromkeys(read_out.point for read_out in read_outs))
    with capture(model, points, pick) as found, telling(items, real), one_forward(model, tokens):
        run_blocks(model, tokens, **kwargs)
    widest = 1 + max(choice for *_, choice in reads)
    zeros = torch.zeros(len(rows), widest, dtype=torch.float64, device=device)
    counts = zeros.index_put((which, choice), zeros.new_ones(len(which)), accumulate=True)
    sums = []
    for read_out in read_outs:
        states = found[read_out.point]
        if ids is None:
            logits = partial(read_out.logits, model)
            own = torch.tensor([place for _, place, _, _ in reads])
            values = log_probabilities(logits, states, model.cfg.d_vocab, own, column)
        else:
            values = read_out.logits(model, states, only)[slot, column]
        sums.append(zeros.index_put((which, choice), values.double(), accumulate=True))
    return sums, counts


def telling(
    items: Sequence[int] | None, real: Bool[Tensor, "row pos"]
) -> AbstractContextManager[object]:
    """Tell sequence hooks, where there are some, which rows a forward computes.

    Args:
        items: Which question each row asks; default: each its own.
        real: Whether a token is more than padding; rows are padded on the right.
    """
    if not whole_prompts():
        return nullcontext()
    positions = torch.arange(real.shape[1], device=real.device).expand(real.shape)
    asked = torch.tensor(items or range(len(real)))
    return running(Rows(placed(asked, real.device), positions, real))


def _columns(tokens: Sequence[int], ids: Sequence[int] | None) -> Sequence[int]:
    """Where each token's logit stands: its place among those that are unembedded; ``None``: all."""
    if ids is None:
        return tokens
    known = {token: i for i, token in enumerate(ids)}
    if missing := set(tokens) - known.keys():
        raise ValueError(f"token {min(missing)} is read, but only {list(ids)} are unembedded")
    return [known[token] for token in tokens]


def _tree(row: Row, shared: int) -> list[Branch]:
    """The stem, and every ending behind the stem alone."""
    tree, start = [Branch(shared, row.stem - shared, shared)], row.stem
    for length in row.endings:
        tree.append(Branch(start, length, row.stem))
        start += length
    return tree
