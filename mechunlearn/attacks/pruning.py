"""Taking weights, neurons and heads out: masks from ranks, and the changes that masks make."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Literal

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from mechunlearn.attacks.edits import written
from mechunlearn.hooks import Unit, linear_maps, replace_units, unit_name
from mechunlearn.types import Change, Hook, HookedModel

Matrix = tuple[int, str]
"""Layer and TransformerLens' name of a weight matrix."""
Masks = Callable[[], Iterable[tuple[Matrix, Bool[Tensor, "..."]]]]


Rounding = Literal["up", "down"]
"""Of a share times a number of entries."""


def ranks(
    scores: Sequence[Float[Tensor, "..."]], levels: Sequence[float], rounding: Rounding = "up"
) -> list[UInt8[Tensor, "..."]]:
    """The smallest of the top shares that each entry belongs to, over all tensors together.

    Entries that are equal at the edge of a share all belong to it.

    Args:
        rounding: Of the number of entries in a share; ``down`` can leave none.

    Returns:
        Index into ``levels``; ``len(levels)`` where an entry belongs to none, or its score is 0.

    Raises:
        ValueError: If a level is not in (0, 1].
    """
    if not all(0 < x <= 1 for x in levels):
        raise ValueError(f"levels are shares p and q in (0, 1], not {tuple(levels)}")
    flat = torch.cat([s.flatten() for s in scores]) if len(scores) > 1 else scores[0].flatten()
    whole = math.ceil if rounding == "up" else math.floor
    counts = torch.tensor([whole(level * flat.numel()) for level in levels], device=flat.device)
    top = flat.topk(max(1, int(counts[-1]))).values
    tiny = torch.finfo(top.dtype).tiny
    edges = top[(counts - 1).clamp_min(0)].clamp_min(tiny)
    thresholds = edges.masked_fill(counts == 0, torch.inf).flip(0)
    return [
        (len(levels) - torch.bucketize(s.contiguous(), thresholds, right=True)).to(torch.uint8)
        for s in scores
    ]


def set_difference(
    forget: UInt8[Tensor, "..."], utility: UInt8[Tensor, "..."], p: int, q: int
) -> Bool[Tensor, "..."]:
    """In the ``q``-th share of the forget ranks and not in the ``p``-th of the utility ranks."""
    return (forget <= q) & (utility > p)


def prune_weights(
    masks: Mapping[Matrix, Bool[Tensor, "_ _"]], name: str = "pruned weights"
) -> Change:
    """Set the marked weights to zero; ``masks`` are shaped as the matrices are stored.

    Raises:
        ValueError: If nothing is marked.
    """
    if not any(mask.any() for mask in masks.values()):
        raise ValueError("the pruning masks are empty: raise q, or lower p")
    return zeroed(lambda: masks.items(), name)


def zeroed(masks: Masks, name: str) -> Change:
    """As ``prune_weights``, with masks that are made one by one, each time they are needed."""

    def edit(model: HookedModel) -> AbstractContextManager[None]:
        return written(lambda: ((_matrix(model, key), mask, 0.0) for key, mask in masks()))

    return Change(name, edits=(edit,))


def _matrix(model: HookedModel, key: Matrix) -> Tensor:
    layer, name = key
    weight = linear_maps(model, layer, [name])[name].original_component.weight  # type: ignore
    assert isinstance(weight, Tensor)
    return weight.detach()


def prune_units(
    mask: Bool[Tensor, "layer unit"],
    unit: Unit,
    means: Mapping[int, Float[Tensor, "unit *d_head"]] | None = None,
    name: str = "pruned units",
) -> Change:
    """Hold the marked neurons or heads at zero, or at their ``means`` by layer.

    Raises:
        ValueError: If nothing is marked.
    """
    if not mask.any():
        raise ValueError("the pruning mask is empty: raise q, or lower p")
    hooks = []
    for layer, row in enumerate(mask):
        if (chosen := row.nonzero()[:, 0]).numel():
            values: Tensor | float = 0.0 if means is None else means[layer][chosen]
            hook = partial(replace_units, units=chosen, values=values)
            hooks.append(Hook(unit_name(layer, unit), hook))
    return Change(name, tuple(hooks))
