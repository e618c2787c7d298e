"""One token after another: the logits of the next token of several texts at once.

``Cached`` pads prompts on the left and keeps keys and values, so a step computes one token a row.
``Whole`` computes the texts so far, padded on the right; for sequence hooks, which look at whole
texts, and for models or lengths that cached keys are wrong for. Both drop rows that have ended.
"""

import random
from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad as padded
from transformers import DynamicCache

from mechunlearn.bench.batches import batches, token_budget
from mechunlearn.bench.cache import new_cache
from mechunlearn.bench.engine import output, telling
from mechunlearn.bench.rows import pad, placed
from mechunlearn.hooks import capture, count_flops, run_blocks
from mechunlearn.types import HookedModel

Logits = Float[Tensor, "row vocab"]
NUCLEUS = 1024
"""The likeliest tokens that are looked at first for ``top_p``; all are sorted where these are too
few."""


@runtime_checkable
class Texts(Protocol):
    """Texts that are being continued."""

    def start(self) -> Logits:
        """Logits of the first new token of every row, in float32."""
        ...

    def step(self, tokens: Int[Tensor, " row"]) -> Logits:
        """Logits of the next token, after one more token of every row."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some rows only."""
        ...


class Cached:
    """Texts whose keys and values are kept; equal prompts are computed once."""

    def __init__(self, model: HookedModel, rows: Sequence[list[int]]) -> None:
        self.model, self.rows, self.cache = model, rows, new_cache()
        self.real = torch.zeros(0)
        self.placed = "position_ids" in signature(model.original_model.forward).parameters

    def start(self) -> Logits:
        """See ``Texts``; prompts are computed in as many parts as is fastest."""
        prompts = list(dict.fromkeys(map(tuple, self.rows)))
        lengths, width = [len(p) for p in prompts], max(map(len, prompts))
        order: list[int] = []
        logits, caches, masks = [], [], []
        for part in batches(lengths, token_budget(self.model)):
            short = max(lengths[i] for i in part)
            tokens, real = _left_padded(self.model, [prompts[i] for i in part], short)
            cache = new_cache()
            logits.append(self._run(tokens, real, cache))
            caches.append(cache)
            masks.append(padded(real, (width - short, 0)))
            order += part
        place = {prompts[i]: at for at, i in enumerate(order)}
        which = [place[tuple(row)] for row in self.rows]
        self.cache, self.real = _joined(caches, width), torch.cat(masks)
        if which != list(range(len(prompts))):
            self.keep(which)
        return torch.cat(logits)[which]

    def step(self, tokens: Int[Tensor, " row"]) -> Logits:
        """See ``Texts``."""
        self.real = padded(self.real, (0, 1), value=1)
        return self._run(tokens[:, None], self.real, self.cache)

    def keep(self, rows: Sequence[int]) -> None:
        """See ``Texts``; columns that only pad now are dropped."""
        at = torch.tensor(rows, device=self.real.device)
        real = self.real[at]
        first = int(real.any(dim=0).int().argmax())
        self.real, kept = real[:, first:], DynamicCache()
        for i, layer in enumerate(self.cache.layers):
            if layer.keys is not None and layer.values is not None:
                pair = (x[at.to(x.device), :, first:] for x in (layer.keys, layer.values))
                kept.update(*pair, i)
        self.cache = kept

    def _run(self, tokens: Tensor, real: Tensor, cache: DynamicCache) -> Logits:
        new = tokens.shape[1]
        kwargs: dict[str, Any] = {"attention_mask": real.long(), "past_key_values": cache}
        if self.placed:
            kwargs["position_ids"] = (real.long().cumsum(1) - 1).clamp(min=0)[:, -new:]
        last = torch.arange(1, len(tokens) + 1, device=tokens.device) * new - 1
        return _next_logits(self.model, tokens, last, **kwargs)


class Whole:
    """Texts that are computed from their first token on in every step."""

    def __init__(self, model: HookedModel, rows: Sequence[list[int]], items: Sequence[int]) -> None:
        self.model, self.rows, self.items = model, [list(row) for row in rows], list(items)

    def start(self) -> Logits:
        """See ``Texts``."""
        tokens, real = pad(self.model, self.rows)
        ends = [i * tokens.shape[1] + len(row) - 1 for i, row in enumerate(self.rows)]
        with telling(self.items, real):
            return _next_logits(self.model, tokens, torch.tensor(ends, device=tokens.device))

    def step(self, tokens: Int[Tensor, " row"]) -> Logits:
        """See ``Texts``."""
        for row, token in zip(self.rows, tokens.tolist(), strict=True):
            row.append(token)
        return self.start()

    def keep(self, rows: Sequence[int]) -> None:
        """See ``Texts``."""
        self.rows = [self.rows[i] for i in rows]
        self.items = [self.items[i] for i in rows]


def continued(
    texts: Texts,
    draw: Callable[[Logits, Sequence[int]], Int[Tensor, " row"]],
    ends: frozenset[int],
    stopped: Callable[[list[int]], bool],
    most: int,
    rows: int,
) -> list[list[int]]:
    """New tokens of every row, until one of them ends it, its text stops, or there are enough.

    Args:
        draw: The next token of some rows, from their logits and their numbers.
        ends: Tokens that end a text; they are not part of it.
        stopped: Whether a text's new tokens are enough.
        most: New tokens of a text.
        rows: How many texts there are.
    """
    new: list[list[int]] = [[] for _ in range(rows)]
    going, logits = list(range(rows)), texts.start()
    for left in range(most - 1, -1, -1):
        tokens = draw(logits, going)
        kept = []
        for at, (i, token) in enumerate(zip(going, tokens.tolist(), strict=True)):
            if token not in ends:
                new[i].append(token)
                if left and not stopped(new[i]):
                    kept.append(at)
        if not kept:
            break
        if len(kept) < len(going):
            texts.keep(kept)
            going, tokens = [going[at] for at in kept], tokens[kept]
        logits = texts.step(tokens)
    return new


def sampled(
    logits: Logits, draws: Sequence[random.Random], temperature: float, top_p: float
) -> Int[Tensor, " row"]:
    """A token of every row, by inverting its cumulative probabilities at one random number each.

    With ``top_p`` only the fewest likeliest tokens that together have at least this probability
    count (Holtzman et al. 2020, arXiv:1904.09751).

    Args:
        draws: A source of randomness a row, so that a row's tokens do not depend on its batch.
        temperature: Above 0; logits are divided by it.
        top_p: In (0, 1].
    """
    numbers = torch.tensor([[d.random()] for d in draws], dtype=torch.float64)
    numbers = numbers.to(logits.device)
    p = (logits / temperature).softmax(-1).double()
    if top_p == 1.0:
        return _inverted(p, numbers)
    likely, token = p.topk(min(NUCLEUS, p.shape[-1]))
    if bool((likely.sum(-1) < top_p).any()):
        likely, token = p.sort(descending=True, stable=True)
    nucleus = likely * (likely.cumsum(-1) - likely < top_p)
    return token.gather(1, _inverted(nucleus, numbers)[:, None])[:, 0]


def _inverted(p: Float[Tensor, "row token"], numbers: Float[Tensor, "row 1"]) -> Tensor:
    total = p.cumsum(-1)
    at = torch.searchsorted(total, numbers * total[:, -1:], right=True)
    return at[:, 0].clamp(max=p.shape[-1] - 1)


def _next_logits(
    model: HookedModel, tokens: Tensor, pick: Int[Tensor, " row"], **kwargs: Any
) -> Logits:
    """Logits after the tokens at the flat indices ``pick``, read as scoring reads them."""
    reader = output(model)
    count_flops(model, tokens.numel())
    with capture(model, [reader.point], pick) as states:
        run_blocks(model, tokens, **kwargs)
    return reader.logits(model, states[reader.point])


def _left_padded(
    model: HookedModel, rows: Sequence[Sequence[int]], width: int
) -> tuple[Int[Tensor, "row pos"], Tensor]:
    """Tokens that end together, and which of them are real."""
    device, filler = model.cfg.device, model.tokenizer.pad_token_id
    tokens = torch.tensor([[filler] * (width - len(row)) + list(row) for row in rows])
    real = torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in rows])
    return placed(tokens, device), placed(real, device)


def _joined(caches: Sequence[DynamicCache], width: int) -> DynamicCache:
    """One cache of the rows of all, each padded on the left."""
    if len(caches) == 1:
        return caches[0]
    whole = DynamicCache()
    for i in range(len(caches[0].layers)):
        layers = [cache.layers[i] for cache in caches]
        keys, values = (
            torch.cat([padded(x, (0, 0, width - x.shape[2], 0)) for x in each if x is not None])
            for each in ([layer.keys for layer in layers], [layer.values for layer in layers])
        )
        whole.update(keys, values, i)
    return whole
