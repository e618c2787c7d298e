"""New candidates from a parent: single edits, by gradient or by what the model would say."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechunlearn.attacks.gcg.problem import Problem
from mechunlearn.bench.cache import extend, new_cache
from mechunlearn.hooks import unembed
from mechunlearn.types import HookedModel, Point

Ids = tuple[int, ...]
Operator = Literal["substitute", "insert", "delete", "swap"]
OPERATORS: tuple[Operator, ...] = get_args(Operator)


def allowed_tokens(tokenizer: Any, size: int, printable: bool) -> Bool[Tensor, " d_vocab"]:
    """Tokens that a text may consist of: no special ones, and on request printable ASCII only.

    Args:
        size: The model's vocabulary, which may be larger than the tokenizer's.

    Raises:
        ValueError: If no token is left.
    """
    texts = tokenizer.batch_decode([[i] for i in range(min(size, len(tokenizer)))])
    special = set(tokenizer.all_special_ids)
    usable = torch.zeros(size, dtype=torch.bool)
    for i, text in enumerate(texts):
        bare = text.strip()
        usable[i] = bool(bare) and i not in special and "\ufffd" not in text
        if printable:
            usable[i] &= bare.isascii() and bare.isprintable()
    if not usable.any():
        raise ValueError("no token of the vocabulary may be used; set printable=False")
    return usable


def substitutions(
    ids: Ids,
    gradient: Float[Tensor, "pos d_vocab"],
    allowed: Bool[Tensor, " d_vocab"],
    top_k: int,
    n: int,
    generator: torch.Generator,
    chances: Sequence[float] = (),
) -> list[Ids]:
    """Single tokens replaced by one of the ``top_k`` with the most negative gradient there.

    Places and tokens are drawn without repetition, uniformly (GCG, Zou et al. 2023) or by chance.

    Args:
        chances: How often each place is to be changed, in any unit; empty: equally often.
    """
    scores = gradient.masked_fill(~allowed.to(gradient.device), torch.inf)
    scores[torch.arange(len(ids)), torch.tensor(ids)] = torch.inf  # Itself is no candidate.
    k = min(top_k, int(allowed.sum()) - 1)
    best = scores.topk(k, largest=False).indices.cpu()
    drawn = torch.randperm(best.numel(), generator=generator)[:n]
    if chances:
        each = torch.tensor(chances).repeat_interleave(k)
        drawn = torch.multinomial(each, len(drawn), generator=generator)
    return [_replaced(ids, at // k, int(best[at // k, at % k])) for at in drawn.tolist()]


def place_ranks(
    before: Sequence[float],
    parent: Ids,
    children: Sequence[Ids],
    losses: Float[np.ndarray, " child"],
    memory: float = 0.7,
) -> list[float]:
    """Running mean of the ranks of the children that were changed at each place.

    Places differ far more than the tokens a gradient suggests for them: at some nearly every change
    harms. A step at which the length changed starts anew at 1/2.

    Args:
        before: The means so far.
        memory: What one more child leaves of a mean.
    """
    means = list(before) if len(before) == len(parent) else [0.5] * len(parent)
    ranks = losses.argsort(kind="stable").argsort() / max(1, len(losses) - 1)
    for child, rank in zip(children, ranks.tolist(), strict=True):
        if len(child) == len(parent):
            place = next(i for i, (a, b) in enumerate(zip(parent, child, strict=True)) if a != b)
            means[place] = memory * means[place] + (1 - memory) * rank
    return means


def deletions(ids: Ids, n: int, generator: torch.Generator) -> list[Ids]:
    """One token left out."""
    places = torch.randperm(len(ids), generator=generator)[:n].tolist()
    return list(dict.fromkeys(ids[:at] + ids[at + 1 :] for at in places))


def insertions(
    ids: Ids, spoken: Int[Tensor, "pos_and_end token"], n: int, generator: torch.Generator
) -> list[Ids]:
    """One token put in, out of those the model would say at that place (BEAST-like)."""
    drawn = torch.randperm(spoken.numel(), generator=generator)[:n].tolist()
    k = spoken.shape[1]
    return [(*ids[: at // k], int(spoken[at // k, at % k]), *ids[at // k :]) for at in drawn]


def swaps(
    ids: Ids, spoken: Int[Tensor, "pos_and_end token"], n: int, generator: torch.Generator
) -> list[Ids]:
    """Single tokens replaced by one that the model would say at that place."""
    k = spoken.shape[1]
    drawn = torch.randperm(len(ids) * k, generator=generator)[:n].tolist()
    children = [_replaced(ids, at // k, int(spoken[at // k, at % k])) for at in drawn]
    return [c for c in children if c != ids]


def combinations(parent: Ids, children: Sequence[Ids], most: int) -> list[Ids]:
    """The first two, three, ... replacements at different places, made together.

    Args:
        children: Best first; those of another length than the parent are passed over.
        most: Replacements made together.
    """
    changes: dict[int, int] = {}
    together = []
    for child in children:
        places = [i for i, (a, b) in enumerate(zip(parent, child, strict=False)) if a != b]
        new = len(child) == len(parent) and len(places) == 1 and places[0] not in changes
        if not new or len(changes) == most:
            continue
        changes[places[0]] = child[places[0]]
        if len(changes) > 1:
            together.append(tuple(changes.get(i, token) for i, token in enumerate(parent)))
    return together


@torch.no_grad()
def spoken_tokens(
    model: HookedModel,
    problem: Problem,
    ids: Ids,
    item: int,
    allowed: Bool[Tensor, " d_vocab"],
    k: int,
    generator: torch.Generator,
) -> Int[Tensor, "pos_and_end token"]:
    """``k`` tokens drawn, without repetition, from what the model says at every place of the text.

    The first place of a text with nothing before it is drawn uniformly.
    """
    before = problem.items[item].before
    tokens = torch.tensor([[*before, *ids]], device=model.cfg.device)
    final = Point(model.cfg.n_layers - 1)
    states = extend(model, new_cache(), tokens, [final])[final][0, max(0, len(before) - 1) :]
    logits = unembed(model, states).float().cpu()
    if not before:
        logits = torch.cat([torch.zeros(1, logits.shape[1]), logits])
    chances = logits.masked_fill(~allowed, -torch.inf).softmax(dim=-1)
    k = min(k, int((chances > 0).sum(dim=1).min()))
    return torch.multinomial(chances, k, generator=generator)


def drawn_text(
    n: int, allowed: Bool[Tensor, " d_vocab"], generator: torch.Generator
) -> Sequence[int]:
    """Random allowed tokens."""
    ids = allowed.nonzero()[:, 0]
    return ids[torch.randint(len(ids), (n,), generator=generator)].tolist()


def _replaced(ids: Ids, at: int, token: int) -> Ids:
    return (*ids[:at], token, *ids[at + 1 :])
