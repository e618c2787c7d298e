"""Up to which length a model rotates keys in one way, whatever comes after them.

Long RoPE (Phi-3, Phi-4-mini) turns by one table up to the length that it was trained on and by
another beyond, dynamic NTK by one for every length beyond. So keys of a shared prefix, and rows of
another length in the same batch, may be turned otherwise than in a plain forward. Nothing here asks
for the kind of rotation: the tables themselves are compared.
"""

from typing import Any
from weakref import WeakKeyDictionary, ref

import torch

from mechunlearn.types import HookedModel

LONGEST = 1 << 20
"""Tokens up to which is searched where a model does not say how many it takes."""
_LIMITS: "WeakKeyDictionary[HookedModel, int]" = WeakKeyDictionary()
_ROTATIONS: "WeakKeyDictionary[HookedModel, list[ref[torch.nn.Module]]]" = WeakKeyDictionary()
"""Modules of each model that turn keys; references that keep none of them in memory."""


def context_of(config: Any) -> int:
    """Longest text by a model's configuration; 0 where it says nothing."""
    return getattr(config.get_text_config(), "max_position_embeddings", None) or 0


def rotation_limit(model: HookedModel) -> int:
    """Tokens up to which rows of any length are turned alike; ``LONGEST`` where there is no limit.

    Beyond it a row has to be computed by itself or with rows of its own length.
    """
    if model not in _LIMITS:
        _LIMITS[model] = limit_of(model.original_model, model.cfg.n_ctx)
    return _LIMITS[model]


def limit_of(plain: torch.nn.Module, context: int) -> int:
    """``rotation_limit`` of a Hugging Face model.

    Args:
        context: Tokens that it takes at most; 0 where there is no limit.
    """
    top = min(context or LONGEST, LONGEST)
    rotations = [m for m in plain.modules() if _turns(m)]
    return min((_limit(m, top) for m in rotations), default=LONGEST)


def reset_rotation(model: HookedModel) -> None:
    """Let the next forward find the tables that a fresh model has: some grow, and stay grown."""
    if rotation_limit(model) == LONGEST:
        return  # Nothing grows.
    if model not in _ROTATIONS:
        _ROTATIONS[model] = [ref(m) for m in model.original_model.modules() if _turns(m)]
    for rotation in _ROTATIONS[model]:
        if (module := rotation()) is not None:
            _tables(module, 1)


def _turns(module: torch.nn.Module) -> bool:
    return any(name.endswith("inv_freq") for name in module._buffers)


def _limit(module: torch.nn.Module, top: int) -> int:
    short = _tables(module, 1)
    if short is None or _same(short, _tables(module, top)):
        return LONGEST
    low, high = 1, top  # The same at ``low``, not at ``high``.
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _same(short, _tables(module, middle)) else (low, middle)
    _tables(module, 1)
    return low


@torch.no_grad()
def _tables(module: Any, length: int) -> list[torch.Tensor] | None:
    """Cosines and sines of the first tokens of a row of some length; ``None``: called otherwise."""
    device = next(iter(module._buffers.values())).device
    # The last position alone tells the module how long the row is.
    positions = torch.tensor([[0, 1, 2, 3, max(3, length - 1)]], device=device)
    x = torch.zeros(1, 5, 1, device=device)
    try:
        kinds = getattr(module, "layer_types", None)
        each = [module(x, positions)] if kinds is None else [module(x, positions, k) for k in kinds]
        return [table[..., :4, :].clone() for pair in each for table in pair]
    except (TypeError, ValueError, RuntimeError, AttributeError, KeyError):
        return None


def _same(one: list[torch.Tensor], other: list[torch.Tensor] | None) -> bool:
    return other is not None and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
