"""Weight edits that are undone bit for bit, also when making them fails half-way."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mechunlearn.hooks import live_parameters
from mechunlearn.interrupts import uninterrupted
from mechunlearn.types import HookedModel

Write = tuple[Float[Tensor, "..."], Bool[Tensor, "..."], Float[Tensor, " entry"] | float]
"""A weight, the entries to change, and their new values."""


@contextmanager
def written(writes: Callable[[], Iterable[Write]]) -> Iterator[None]:
    """Make some writes to weights inside a ``with`` block.

    Only the values that are overwritten are kept. Masks are asked for one by one, and again on the
    way out, since those of a large model are large together.

    Args:
        writes: Gives the same masks each time it is called; no entry may be written twice.
    """
    saved: list[Tensor] = []
    try:
        with torch.no_grad():
            for weight, mask, values in writes():
                chosen = mask.to(weight.device)
                saved.append(weight[chosen])
                weight[chosen] = values
        yield
    finally:
        with torch.no_grad(), uninterrupted():
            # Stops behind the last write that was begun: later masks are not made again.
            for before, (weight, mask, _) in zip(saved, writes(), strict=False):
                weight[mask.to(weight.device)] = before


@contextmanager
def scrambled(model: HookedModel, seed: int) -> Iterator[None]:
    """Put rows and columns of every matrix into random order inside a ``with`` block.

    A model that computes nothing of what it learned, with matrices of the same numbers and the same
    spectra. Nothing is copied: on the way out the orders are undone, bit for bit.
    """
    generator = torch.Generator().manual_seed(seed)
    matrices = [p for p in live_parameters(model) if p.ndim == 2]
    orders = [[torch.randperm(n, generator=generator) for n in p.shape] for p in matrices]
    done = 0
    try:
        with torch.no_grad(), uninterrupted():
            for weight, order in zip(matrices, orders, strict=True):
                _reorder(weight, order)
                done += 1
        yield
    finally:
        with torch.no_grad(), uninterrupted():
            for weight, order in zip(matrices[:done], orders[:done], strict=True):
                _reorder(weight, [own.argsort() for own in order])


def _reorder(weight: Tensor, order: Sequence[Tensor]) -> None:
    rows, columns = (own.to(weight.device) for own in order)
    weight.copy_(weight[rows][:, columns])
