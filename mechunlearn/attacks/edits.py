"""Weight edits that are undone bit for bit, also when making them fails half-way."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float
from torch import Tensor

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
        with torch.no_grad():
            # Stops behind the last write that was begun: later masks are not made again.
            for before, (weight, mask, _) in zip(saved, writes(), strict=False):
                weight[mask.to(weight.device)] = before
