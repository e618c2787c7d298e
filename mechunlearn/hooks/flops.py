"""Count the arithmetic of forwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch

from mechunlearn.types import HookedModel


@dataclass(slots=True)
class Meter:
    """Counts the arithmetic of the forwards run while it is active."""

    flops: int = 0


_METER: ContextVar[Meter | None] = ContextVar("meter", default=None)


@contextmanager
def metered() -> Iterator[Meter]:
    """Count FLOPs: 2 per weight and token forward, 6 with the backward pass."""
    meter, outer = Meter(), _METER.get()
    token = _METER.set(meter)
    try:
        yield meter
    finally:
        _METER.reset(token)
        if outer is not None:
            outer.flops += meter.flops


@contextmanager
def unmetered() -> Iterator[None]:
    """Count nothing of what is computed inside, in any meter."""
    token = _METER.set(None)
    try:
        yield
    finally:
        _METER.reset(token)


def add_flops(flops: int) -> None:
    """Add arithmetic that was done before, in an interrupted run, to the active meter."""
    meter = _METER.get()
    if meter is not None:
        meter.flops += flops


def count_flops(model: HookedModel, tokens: int, layers: int | None = None) -> None:
    """Add a forward over ``tokens`` through the first ``layers`` blocks to the active meter."""
    meter = _METER.get()
    if meter is not None:
        cfg = model.cfg
        mlp = (3 if getattr(cfg, "gated_mlp", False) else 2) * cfg.d_model * cfg.d_mlp
        weights = (4 * cfg.d_model**2 + mlp) * (cfg.n_layers if layers is None else layers)
        meter.flops += (6 if torch.is_grad_enabled() else 2) * tokens * weights
