"""Keys and values of tokens that many sequences share: computed once, repeated, cut, continued."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from mechunlearn.bench.rotation import rotation_limit
from mechunlearn.hooks import capture, count_flops, run_blocks
from mechunlearn.types import HookedModel, Point


def new_cache() -> DynamicCache:
    """A cache without tokens; it keeps all of them, and sliding attention masks what is too far."""
    return DynamicCache()


def extend(
    model: HookedModel,
    cache: DynamicCache,
    tokens: Int[Tensor, "row pos"],
    points: Sequence[Point] = (),
    pick: Int[Tensor, " read"] | None = None,
    blocks: int | None = None,
    **kwargs: Any,
) -> dict[Point, Tensor]:
    """Run ``tokens`` after what ``cache`` holds, and add their keys and values to it.

    Args:
        points: Where to read, at the flat indices ``pick`` into ``row * pos``.
        blocks: How many blocks to run; default: all. Nothing after them is computed.
        kwargs: Mask and positions of the tokens, where they are not the usual ones.

    Returns:
        What passed each point: ``[row, pos, d_model]``, or ``[read, d_model]`` with ``pick``.

    Raises:
        ValueError: If the cached keys are not those of a plain forward over so many tokens.
    """
    before, limit = cache.get_seq_length(), rotation_limit(model)
    if before and (before + tokens.shape[1] > limit or not model.shortcuts.sharing):
        raise ValueError(
            f"{model.provenance.name} cannot go on after {before} cached tokens: "
            f"{model.provenance.architecture} computes them otherwise in longer texts (limit: "
            f"{limit} tokens); ask shorter prompts, or leave this out"
        )
    count_flops(model, tokens.numel(), layers=blocks)
    with capture(model, points, pick) as activations:
        run_blocks(model, tokens, blocks, past_key_values=cache, **kwargs)
    return activations


class _Beginning(DynamicLayer):
    """Keys and values of one row, which all rows begin with; what comes after them is not kept."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """All keys and values of this layer, for one forward."""
        pairs = (self.keys, key_states), (self.values, value_states)
        keys, values = (
            torch.cat([first.expand(len(own), -1, -1, -1), own], dim=-2) for first, own in pairs
        )
        return keys, values


def beginning(cache: DynamicCache) -> DynamicCache:
    """A cache of one row as the beginning of any number of rows, none of which is kept.

    So only one layer's keys are there once for every row.

    Raises:
        ValueError: If not all blocks ran.
    """
    first = DynamicCache()
    for layer in cache.layers:
        if layer.keys is None or layer.values is None:
            raise ValueError("a block without keys: only part of the model ran")
        first.layers.append(_Beginning(layer.keys, layer.values))
    return first


def chosen(
    cache: DynamicCache, rows: Int[Tensor, " row"], length: int | None = None
) -> DynamicCache:
    """A new cache with some rows of another, as often as wanted, cut to ``length`` tokens.

    A cache of one row serves any number of rows, whatever their indices. Gradients flow.
    """
    picked = DynamicCache()
    for i, layer in enumerate(cache.layers):
        if layer.keys is None or layer.values is None or not layer.keys.numel():
            continue  # A block that did not run.
        pair = [x[:, :, :length] for x in (layer.keys, layer.values)]
        if len(layer.keys) == 1:
            pair = [x.expand(len(rows), -1, -1, -1) for x in pair]
        else:
            pair = [x[rows] for x in pair]
        picked.update(pair[0], pair[1], i)
    return picked


def leaves(cache: DynamicCache) -> tuple[DynamicCache, list[tuple[Tensor, Tensor]]]:
    """A detached copy that collects gradients, and pairs of (original, copy) to pass them on."""
    copy, pairs = DynamicCache(), []
    for i, layer in enumerate(cache.layers):
        if layer.keys is None or layer.values is None:
            continue
        copies = [x.detach().requires_grad_() for x in (layer.keys, layer.values)]
        pairs += list(zip((layer.keys, layer.values), copies, strict=True))
        copy.update(copies[0], copies[1], i)
    return copy, pairs
