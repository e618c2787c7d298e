"""Parts of blocks that nobody hooks are computed by the plain model's own modules.

TransformerLens computes every activation that a hook may ask for: attention scores and patterns,
the scale of each norm. Where no hook asks, that costs two to four times the plain forward in calls
of small models and short texts, and on a GPU the fused attention. So a norm, an MLP or an attention
with no hook inside is left to the module that it wraps, with the same weights; hooks on its input
and output are called. What is hooked inside stays as it is.

TransformerLens switches the plain attention to the one of small steps, which it also reimplements;
on a CPU it stays that one, whose bits are the same. On other devices it is the fused one for as
long as it runs, where the model had that before: it rounds otherwise and keeps no scores.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge.generalized_components import (
    GatedMLPBridge,
    LinearBridge,
    MLPBridge,
    NormalizationBridge,
    PositionEmbeddingsAttentionBridge,
    RMSNormalizationBridge,
)
from transformer_lens.model_bridge.generalized_components.base import GeneralizedComponent

from mechunlearn.interrupts import uninterrupted
from mechunlearn.types import HookedModel

KINDS = (
    GatedMLPBridge,
    LinearBridge,
    MLPBridge,
    NormalizationBridge,
    PositionEmbeddingsAttentionBridge,
    RMSNormalizationBridge,
)
"""What computes the same as what it wraps; no subclasses, which may hold other weights."""
FUSED, STEPS = "sdpa", "eager"
RAW_INPUTS = ("use_split_qkv_input", "use_attn_in", "use_hook_mlp_in")
"""Settings with which parts of a block read what comes before others of its parts."""


Slot = tuple[dict[str, nn.Module | None], str, Any]
"""The modules of a parent, a name among them, and the bridge that stands there."""


class _Ends(nn.Module):
    """What a bridge wraps, between the bridge's first and last hook point."""

    def __init__(self, bridge: Any) -> None:
        super().__init__()
        object.__setattr__(self, "bridge", bridge)  # It is no part of this.

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        bridge: Any = self.bridge
        if args:
            args = (bridge.hook_in(args[0]), *args[1:])
        else:
            kwargs["hidden_states"] = bridge.hook_in(kwargs["hidden_states"])
        output = bridge.original_component(*args, **kwargs)
        if isinstance(output, tuple):
            return (bridge.hook_out(output[0]), *output[1:])
        return bridge.hook_out(output)


@dataclass(frozen=True, slots=True)
class _Part:
    """A bridge, and all bridges inside it: they are taken out together, where none is hooked."""

    slots: tuple[Slot, ...]
    """The outermost first."""
    ends: _Ends
    """In its place where its input or output alone is hooked."""
    points: tuple[HookPoint, ...]
    """All others."""
    config: Any
    """Of an attention that is to be fused meanwhile."""

    def needed(self, known: set[int]) -> bool:
        """Whether anything looks inside, beside TransformerLens' own ``known`` handles."""
        return any(map(_hooked, self.points)) or any(
            b._forward_hooks
            or b._backward_hooks
            or b._backward_pre_hooks
            or not b._forward_pre_hooks.keys() <= known
            for _, _, b in self.slots
        )

    def take_out(self) -> None:
        """Put what is wrapped in the place of every bridge."""
        for modules, name, bridge in self.slots:
            modules[name] = bridge.original_component  # Adapters come and go there.
        modules, name, outer = self.slots[0]
        if _hooked(outer.hook_in) or _hooked(outer.hook_out):
            modules[name] = self.ends
        if self.config is not None:
            self.config._attn_implementation = FUSED

    def put_back(self) -> None:
        """Everything as TransformerLens left it."""
        for modules, name, bridge in self.slots:
            modules[name] = bridge
        if self.config is not None:
            self.config._attn_implementation = STEPS


def _hooked(point: HookPoint) -> bool:
    return bool(
        point._forward_hooks
        or point._backward_hooks
        or point._forward_pre_hooks
        or point._backward_pre_hooks
    )


def bypass_bridges(model: HookedModel, attention: str | None) -> None:
    """Let every block's parts be computed by what they wrap, for as long as nobody hooks them.

    Args:
        attention: How the plain model computed attention before it was hooked.
    """
    for block in model.blocks:
        layer = block.original_component
        fused = attention == FUSED and next(layer.parameters()).device.type != "cpu"
        if parts := tuple(_parts(layer, fused)):
            forward: Any = partial(_forward, layer.forward, block, parts)
            forward.__signature__ = inspect.signature(layer.forward)  # What it may be given.
            layer.forward = forward


def _forward(plain: Any, block: Any, parts: tuple[_Part, ...], *args: Any, **kwargs: Any) -> Any:
    """The block's forward, with every unhooked part taken out meanwhile."""
    if block.compatibility_mode or any(getattr(block.config, name, False) for name in RAW_INPUTS):
        return plain(*args, **kwargs)
    known = {handle.id for handle in block._capture_hook_handles}
    unhooked = [part for part in parts if not part.needed(known)]
    try:
        for part in unhooked:
            part.take_out()
        return plain(*args, **kwargs)
    finally:
        with uninterrupted():
            for part in unhooked:
                part.put_back()


def _parts(layer: nn.Module, fused: bool) -> Iterator[_Part]:
    """The parts of a block that may be taken out."""
    for place in _bridges(layer):
        places = [place]
        for _, _, outer in places:  # Grows meanwhile.
            places += _bridges(outer.original_component)
        if all(_same(bridge) for _, _, bridge in places):
            outer = place[2]
            points = [m for m in outer.modules() if isinstance(m, HookPoint)]
            inside = [p for p in points if p is not outer.hook_in and p is not outer.hook_out]
            turned = fused and isinstance(outer, PositionEmbeddingsAttentionBridge)
            config = getattr(outer.original_component, "config", None) if turned else None
            config = config if getattr(config, "_attn_implementation", "") == STEPS else None
            yield _Part(tuple(places), _Ends(outer), tuple(inside), config)


def _same(bridge: Any) -> bool:
    native = getattr(bridge, "use_native_layernorm_autograd", True)
    return type(bridge) in KINDS and native


def _bridges(module: nn.Module) -> Iterator[Slot]:
    """The uppermost bridges inside a module."""
    for name, child in module._modules.items():
        if isinstance(child, GeneralizedComponent):
            yield module._modules, name, child
        elif child is not None:
            yield from _bridges(child)
