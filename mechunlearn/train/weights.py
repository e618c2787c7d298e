"""What of a model is trained, and the guarantee that it comes back unchanged."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from mechunlearn.hooks import live_parameters
from mechunlearn.interrupts import uninterrupted
from mechunlearn.models.lora import Adapter, LoRA
from mechunlearn.types import HookedModel


@contextmanager
def trained(
    model: HookedModel, lora: LoRA, blocks: Sequence[int] = (), seed: int = 0
) -> Iterator[tuple[list[torch.nn.Parameter], Adapter | None]]:
    """What to train: all live weights, or adapters that are merged at the end.

    After an exception the adapters are taken out again and the weights are as they were.

    Args:
        lora: Rank 0 trains the weights themselves.
        blocks: Where adapters go; default: everywhere.
    """
    if not lora.rank:
        yield live_parameters(model), None
        return
    adapter, merge = None, False
    try:
        with uninterrupted():
            adapter = Adapter(model, lora, blocks, seed)
        yield adapter.parameters, adapter
        merge = True
    finally:
        if adapter is not None:
            with uninterrupted():
                adapter.remove(merge=merge)


@contextmanager
def restored(model: HookedModel) -> Iterator[HookedModel]:
    """Undo, bit for bit, every weight change made inside the ``with`` block.

    The copies lie in the host's memory, where there is more of it.
    """
    saved = [(p, p.detach().to("cpu", copy=True)) for p in model.parameters()]
    try:
        yield model
    finally:
        with torch.no_grad(), uninterrupted():
            for p, before in saved:
                p.copy_(before)
