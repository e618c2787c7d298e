"""Run a model as far as needed, keep what passes a point, and unembed it."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge.exceptions import StopAtLayerException

from mechunlearn.half import quick_products
from mechunlearn.hooks.flops import count_flops
from mechunlearn.hooks.product import full_product
from mechunlearn.interrupts import uninterrupted
from mechunlearn.types import HookedModel, Point

_POINTS: "WeakKeyDictionary[HookedModel, dict[str, HookPoint]]" = WeakKeyDictionary()
"""Of each model, by name, those that were asked for."""


@contextmanager
def _hooked(
    model: HookedModel, hooks: Sequence[tuple[str, Callable[[Tensor, object], Tensor | None]]]
) -> Iterator[None]:
    """As ``model.hooks(fwd_hooks=hooks)``, which sorts all names of the model each time."""
    known, added = _POINTS.setdefault(model, {}), []
    try:
        with uninterrupted():
            for name, function in hooks:
                if name not in known:
                    known[name] = model.hook_dict[name]
                added.append((known[name], known[name].add_hook(function)))
        yield
    finally:
        with uninterrupted():
            for point, handle in added:
                handle.hook.remove()
                if handle in point.fwd_hooks:  # Not after ``reset_hooks`` inside the block.
                    point.fwd_hooks.remove(handle)


@contextmanager
def capture(
    model: HookedModel,
    points: Sequence[Point],
    pick: Int[Tensor, "row"] | None = None,
    take: Callable[[Tensor], Any] = lambda activation: activation,
) -> Iterator[dict[Point, Any]]:
    """Keep what passes ``points``, after every hook that is already there.

    Args:
        pick: Flat indices into ``batch * pos``; only these rows are kept.
        take: What to keep of them, where not all of every layer is to be there at once.

    Yields:
        Filled by the next forward: ``[batch, pos, d_model]``, or ``[row, d_model]`` with ``pick``.
    """
    activations: dict[Point, Any] = {}

    def keep(activation: Tensor, hook: object, point: Point) -> None:
        if pick is not None:
            activation = activation.flatten(0, 1)[pick.to(activation.device)]
        activations[point] = take(activation.to(model.cfg.device))  # Blocks may be on other GPUs.

    with _hooked(model, [(p.name, partial(keep, point=p)) for p in points]):
        yield activations
    if missing := [p.name for p in points if p not in activations]:
        raise RuntimeError(f"no activation passed {missing}: no forward ran inside capture()")


def run_blocks(
    model: HookedModel, tokens: Int[Tensor, "batch pos"], blocks: int | None = None, **kwargs: Any
) -> Float[Tensor, "batch pos d_model"]:
    """The stream after the first ``blocks`` blocks (default: all); nothing after it is computed."""
    if blocks is not None and blocks < model.cfg.n_layers:
        with quick_products(next(model.parameters())):
            return model(tokens, stop_at_layer=blocks, **kwargs)

    def stop(activation: Tensor, hook: object) -> Tensor:
        raise StopAtLayerException(activation)  # The forward catches it, as for earlier blocks.

    last = Point(model.cfg.n_layers - 1).name
    with _hooked(model, [(last, stop)]), quick_products(next(model.parameters())):
        return model(tokens, **kwargs)


def forward_to(
    model: HookedModel, tokens: Int[Tensor, "batch pos"], layer: int, **kwargs: Any
) -> Float[Tensor, "batch pos d_model"]:
    """The output of block ``layer``; nothing after that block is computed."""
    count_flops(model, tokens.numel(), layers=layer + 1)
    return run_blocks(model, tokens, layer + 1, **kwargs)


def unembed(
    model: HookedModel,
    resid: Float[Tensor, "row d_model"],
    ids: Int[Tensor, " token"] | None = None,
    norm: bool = True,
) -> Float[Tensor, "row token"]:
    """Logits of some tokens (default: all) read from a stream: ``W_U ln_final(x) + b_U``.

    The norm is the model's own, in the model's type; the product is in float32 whatever that type
    is, also under autocast. In bfloat16 neighbouring logits of size 16 to 32 lie 0.125 apart, so
    that letters tie. For a model in float32 these are the plain forward's logits.

    Args:
        norm: Apply the final norm first (the usual logit lens); otherwise read the raw stream.
    """
    head: Any = model.unembed.original_component
    x = resid.to(head.weight.device)
    x = model.ln_final(x[None])[0] if norm else x
    return softcapped(model, _product(head, x, ids)).to(resid.device)


def _product(
    head: Any, x: Float[Tensor, "row d_model"], ids: Int[Tensor, " token"] | None
) -> Float[Tensor, "row token"]:
    weight, bias = head.weight, getattr(head, "bias", None)
    if ids is not None:
        chosen = ids.to(weight.device)
        weight, bias = weight[chosen], None if bias is None else bias[chosen]
    return full_product(x, weight, bias)


def softcapped(model: HookedModel, logits: Tensor) -> Tensor:
    """What follows the unembedding: Gemma 2 bounds its logits, Granite and Cohere scale them."""
    return _softcap(model)(logits)


def _cap(model: HookedModel) -> float | None:
    """What logits stay below, where the architecture bounds them."""
    config = model.original_model.config.get_text_config()
    return getattr(config, "final_logit_softcapping", None)


def _softcap(model: HookedModel) -> Callable[[Tensor], Tensor]:
    """What follows the unembedding, without the model."""
    cap, scale = _cap(model), model.logit_scale

    def bound(logits: Tensor) -> Tensor:
        logits = logits if scale == 1 else logits * scale
        return logits if not cap else cap * torch.tanh(logits / cap)

    return bound


@torch.no_grad()
def frozen_norm(
    model: HookedModel, x: Float[Tensor, "row d_model"]
) -> Callable[[Float[Tensor, "*part row d_model"]], Float[Tensor, "*part row d_model"]]:
    """The final norm as a linear map, at the scale that it has for each row of ``x``.

    The images of parts that add up to ``x`` add up to ``norm(x)``, less the norm's bias, where it
    has one. Found by probing, so that layer norms, root-mean-square norms and those that store
    their gain less one are alike.
    """

    def norm(rows: Tensor) -> Tensor:
        return model.ln_final(rows.to(x)[None])[0].float()

    probe = torch.ones_like(x[:1])
    probe[:, ::2] = -1  # Mean 0, mean square 1.
    bias = norm(torch.zeros_like(probe))
    gain = (norm(probe) - bias) * probe.float()
    moved = (norm(probe + 2) - norm(probe)).norm()
    centred = bool(moved <= 0.1 * gain.norm())  # Without centring it is as long as the gain.

    def scaled(part: Tensor) -> Tensor:
        part = part.float()
        return gain * (part - part.mean(-1, keepdim=True) if centred else part)

    whole = scaled(x)
    inverse = ((norm(x) - bias) * whole).sum(-1, keepdim=True) / (whole * whole).sum(
        -1, keepdim=True
    )
    return lambda part: scaled(part) * inverse


@torch.no_grad()
def measured_scale(model: HookedModel, tokens: Int[Tensor, "batch pos"]) -> float:
    """The factor between the unembedding's output and the logits, as the model computes them.

    Returns:
        1 where there is none, or something else than a factor stands between them.
    """
    raw: list[Tensor] = []
    keep = ("unembed.hook_out", lambda activation, hook: raw.append(activation))
    with model.hooks(fwd_hooks=[keep]):
        logits = model(tokens).double()
    before = raw[-1].double().to(logits.device)
    if cap := _cap(model):  # To small logits it does nearly what a factor does.
        inside = logits.abs() < 0.9 * cap
        before, logits = before[inside], cap * torch.atanh(logits[inside] / cap)
    scale = float((before * logits).sum() / (before * before).sum())
    same = abs(scale - 1) < 1e-3 or not (logits - scale * before).norm() < 0.01 * logits.norm()
    return 1.0 if same else scale


def frozen_unembedding(
    model: HookedModel,
) -> Callable[[Float[Tensor, "row d_model"]], Float[Tensor, "row token"]]:
    """Logits from normed states by a copy of the unembedding as it is now, whatever is trained."""
    head = model.unembed.original_component
    weight = head.weight.detach().clone()
    bias = None if getattr(head, "bias", None) is None else head.bias.detach().clone()
    bound = _softcap(model)  # Without the model, which may be gone when this is called.

    def logits(normed: Float[Tensor, "row d_model"]) -> Float[Tensor, "row token"]:
        return bound(full_product(normed, weight, bias))

    return logits


def frozen_head(
    model: HookedModel,
) -> Callable[[Float[Tensor, "row d_model"]], Float[Tensor, "row token"]]:
    """Logits from states by copies of the final norm and of the unembedding as they are now.

    Neither copy is trained, moved or freed with the model.
    """
    norm = copy.deepcopy(model.ln_final.original_component).requires_grad_(False)
    head = frozen_unembedding(model)
    weight: Tensor = model.unembed.original_component.weight
    like = weight.new_empty(0)

    def logits(resid: Float[Tensor, "row d_model"]) -> Float[Tensor, "row token"]:
        return head(norm(resid.to(like)[None])[0]).to(resid.device)

    return logits
