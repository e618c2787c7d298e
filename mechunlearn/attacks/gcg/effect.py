"""What each token of an optimised text does inside the model."""

import torch

from mechunlearn.attacks.gcg.problem import Problem
from mechunlearn.bench.cache import extend, new_cache
from mechunlearn.bench.rows import pad
from mechunlearn.types import HookedModel, Point

QUESTIONS = 16
"""Questions over which effects are averaged."""


@torch.no_grad()
def token_effects(model: HookedModel, problem: Problem, ids: tuple[int, ...]) -> list[list[float]]:
    """How far the last prompt token's state moves at each block when one token is left out.

        |h_l(z) - h_l(z without token i)| / |h_l(z)|     mean over questions

    Returns:
        ``[token][layer]``.
    """
    points = [Point(i) for i in range(model.cfg.n_layers)]
    items = problem.items[:QUESTIONS]

    def states(text: tuple[int, ...]) -> torch.Tensor:
        rows = [[*i.before, *text, *i.after] for i in items]
        tokens, real = pad(model, rows)
        width = tokens.shape[1]
        last = torch.arange(len(rows), device=tokens.device) * width + real.sum(dim=1) - 1
        read = extend(model, new_cache(), tokens, points, last)
        return torch.stack([read[p].float() for p in points])  # [layer, question, d_model]

    whole = states(ids)
    effects = []
    for i in range(len(ids)):
        without = states(ids[:i] + ids[i + 1 :])
        moved = (whole - without).norm(dim=-1) / whole.norm(dim=-1)
        effects.append([round(x, 4) for x in moved.mean(dim=1).tolist()])
    return effects
