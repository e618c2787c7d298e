"""Forwards that differ from block k on: what comes before is computed once for all of them.

    h_k-1 of the unchanged model is kept; a forward with hooks at block k or later begins with it

Only the outputs of blocks are kept, as the blocks returned them, so that whatever is hooked there
acts as in a whole forward. The numbers are those of whole forwards, bit for bit.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from mechunlearn.interrupts import uninterrupted
from mechunlearn.types import HookedModel

AFTER = ("hook_resid_post", "hook_out")
"""Names of a block's output."""


def unchanged_blocks(place: str) -> int:
    """How many blocks compute the same whatever is done at a hook point."""
    found = re.fullmatch(r"blocks\.(\d+)\.(.+)", place)
    return 0 if found is None else int(found[1]) + (found[2] in AFTER)


@dataclass(slots=True)
class Beginnings:
    """Outputs of some blocks in every forward of an unchanged model, in order.

    Where they take more than ``room`` bytes, every second of the blocks is left out.
    """

    blocks: list[int]
    """How many blocks each kept output has behind it; from 1 on, ascending."""
    room: float
    kept: dict[int, list[Any]] = field(default_factory=dict)
    size: int = 0
    tokens: list[Tensor] = field(default_factory=list)
    """Of each forward."""

    @contextmanager
    def forward(self, model: HookedModel, tokens: Int[Tensor, "batch pos"]) -> Iterator[None]:
        """Keep what one forward inside the ``with`` block computes, if it comes to its end."""
        outs: dict[int, Any] = {}

        def keeping(plain: Any, n: int) -> Any:
            def forward(*args: Any, **kwargs: Any) -> Any:
                out = plain(*args, **kwargs)
                outs[n] = out
                return out

            return forward

        inner = [model.blocks[n - 1].original_component for n in self.blocks]
        functions = [keeping(b.forward, n) for b, n in zip(inner, self.blocks, strict=True)]
        with _replaced(inner, functions):
            yield
        self.tokens.append(tokens)
        for n, out in outs.items():
            self.kept.setdefault(n, []).append(out)
            self.size += _size(out)
        while self.size > self.room and self.blocks:
            self._thin()

    def _thin(self) -> None:
        for n in self.blocks[::2]:
            self.size -= sum(map(_size, self.kept.pop(n, [])))
        self.blocks = self.blocks[1::2]

    def before(self, n: int) -> int:
        """The most blocks, up to ``n``, after which a forward can begin; 0: with the tokens."""
        return max((k for k in self.blocks if k <= n), default=0)


@dataclass(slots=True)
class Later:
    """The same forwards again, from one of the blocks on."""

    beginnings: Beginnings
    blocks: int
    """How many blocks are not computed."""
    at: int = 0

    @contextmanager
    def forward(self, model: HookedModel, tokens: Int[Tensor, "batch pos"]) -> Iterator[None]:
        """Let one forward inside the ``with`` block begin where it may differ.

        One of other tokens, as after a batch was split, is computed whole.
        """
        at, self.at = self.at, self.at + 1
        earlier = self.beginnings.tokens[at : at + 1]
        if not earlier or not torch.equal(earlier[0], tokens):
            yield
            return
        out = self.beginnings.kept[self.blocks][at]

        def forward(*args: Any, **kwargs: Any) -> Any:
            return out

        inner = [model.blocks[i].original_component for i in range(self.blocks)]
        with _replaced(inner, [forward] * len(inner)):
            yield


_ACTIVE: ContextVar[Beginnings | Later | None] = ContextVar("later", default=None)


@contextmanager
def begun(passes: Beginnings | Later | None) -> Iterator[None]:
    """Keep the forwards inside the ``with`` block, or let them begin later."""
    token = _ACTIVE.set(passes)
    try:
        yield
    finally:
        _ACTIVE.reset(token)


@contextmanager
def one_forward(model: HookedModel, tokens: Int[Tensor, "batch pos"]) -> Iterator[None]:
    """What ``begun`` asks for, around one forward over many rows."""
    active = _ACTIVE.get()
    if active is None:
        yield
        return
    with active.forward(model, tokens):
        yield


@contextmanager
def _replaced(modules: Sequence[Any], forwards: Sequence[Any]) -> Iterator[None]:
    before = [module.__dict__.get("forward") for module in modules]
    try:
        for module, forward in zip(modules, forwards, strict=True):
            module.forward = forward
        yield
    finally:
        with uninterrupted():
            for module, own in zip(modules, before, strict=True):
                if own is None:
                    module.__dict__.pop("forward", None)
                else:
                    module.forward = own


def _size(out: Any) -> int:
    """Bytes of what a block returned."""
    parts = out if isinstance(out, tuple) else (out,)
    return sum(x.numel() * x.element_size() for x in parts if isinstance(x, Tensor))
