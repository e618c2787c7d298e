"""Where and how activations are read and changed; the only file that spells a hook name."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge.exceptions import StopAtLayerException

from mechunlearn.types import STREAMS, HookedModel, Point, Stream

EMBED = "hook_embed"


def streams(model: HookedModel) -> list[Stream]:
    """The streams that a model has: parallel blocks (GPT-NeoX) have no residual in between."""
    return [s for s in STREAMS if Point(0, s).name in model.hook_dict]


def stream_writes(model: HookedModel) -> list[str]:
    """Names of everything that writes to the residual stream: embeddings, attentions, MLPs."""
    embeddings = [name for name in (EMBED, "hook_pos_embed") if name in model.hook_dict]
    layers = range(model.cfg.n_layers)
    return embeddings + [Point(i, s).name for i in layers for s in ("attn_out", "mlp_out")]


def check_layers(model: HookedModel, layers: Sequence[int]) -> None:
    """Refuse layers that the model does not have.

    Raises:
        ValueError: Naming the bad layers and the allowed range.
    """
    if bad := [i for i in layers if not 0 <= i < model.cfg.n_layers]:
        raise ValueError(f"layers {bad} do not exist: this model has 0..{model.cfg.n_layers - 1}")
    if not layers:
        raise ValueError("no layers were given; name at least one")


def move_along(
    activation: Float[Tensor, "*batch d_model"],
    hook: object,
    unit: Float[Tensor, " d_model"],
    to: float = 0.0,
    excess_only: bool = False,
) -> Float[Tensor, "*batch d_model"]:
    """Set the coordinate along a unit vector: ``x - (x . u - to) u``; a new tensor.

    Args:
        to: The new coordinate; 0 projects the vector out.
        excess_only: Leave coordinates below ``to`` as they are.
    """
    unit = unit.to(activation)
    excess = activation @ unit - to
    if excess_only:
        excess = excess.clamp_min(0)
    return activation - excess[..., None] * unit


@contextmanager
def capture(
    model: HookedModel, points: Sequence[Point], pick: Int[Tensor, "row"] | None = None
) -> Iterator[dict[Point, Tensor]]:
    """Keep what passes ``points``, after every hook that is already there.

    Args:
        pick: Flat indices into ``batch * pos``; only these rows are kept.

    Yields:
        Filled by the next forward: ``[batch, pos, d_model]``, or ``[row, d_model]`` with ``pick``.
    """
    kept: dict[Point, Tensor] = {}

    def keep(activation: Tensor, hook: object, point: Point) -> None:
        if pick is not None:
            activation = activation.flatten(0, 1)[pick.to(activation.device)]
        kept[point] = activation.to(model.cfg.device)  # Blocks may lie on several GPUs.

    with model.hooks(fwd_hooks=[(p.name, partial(keep, point=p)) for p in points]):
        yield kept
    if missing := [p.name for p in points if p not in kept]:
        raise RuntimeError(f"no activation passed {missing}: no forward ran inside capture()")


def run_blocks(
    model: HookedModel, tokens: Int[Tensor, "batch pos"], blocks: int | None = None, **kwargs: Any
) -> Float[Tensor, "batch pos d_model"]:
    """The stream after the first ``blocks`` blocks (default: all); nothing after it is computed."""
    if blocks is not None and blocks < model.cfg.n_layers:
        return model(tokens, stop_at_layer=blocks, **kwargs)

    def stop(activation: Tensor, hook: object) -> Tensor:
        raise StopAtLayerException(activation)  # The forward catches it, as for earlier blocks.

    with model.hooks(fwd_hooks=[(Point(model.cfg.n_layers - 1).name, stop)]):
        return model(tokens, **kwargs)


def forward_to(
    model: HookedModel, tokens: Int[Tensor, "batch pos"], layer: int, **kwargs: Any
) -> Float[Tensor, "batch pos d_model"]:
    """The output of block ``layer``; nothing after that block is computed."""
    count_flops(model, tokens.numel(), layers=layer + 1)
    return run_blocks(model, tokens, layer + 1, **kwargs)


def embedding_table(model: HookedModel) -> Float[Tensor, "d_vocab d_model"]:
    """What each token adds to the stream as its embedding, any scaling included."""
    module = model.embed.original_component
    if type(module) is torch.nn.Embedding:
        return module.weight
    with torch.no_grad():
        return model.embed(torch.arange(model.cfg.d_vocab, device=model.cfg.device)[None])[0]


@contextmanager
def first_embeddings(
    model: HookedModel, vectors: Float[Tensor, "pos d_model"] | None, skip: int = 0
) -> Iterator[None]:
    """Put ``vectors`` in the place of every row's first token embeddings, after ``skip`` tokens.

    Gradients flow to the vectors; ``None`` changes nothing.
    """
    if vectors is None:
        yield
        return

    def replace(activation: Float[Tensor, "row pos d_model"], hook: object) -> Tensor:
        own = vectors.to(activation).expand(len(activation), -1, -1)
        return torch.cat([activation[:, :skip], own, activation[:, skip + own.shape[1] :]], dim=1)

    with model.hooks(fwd_hooks=[(EMBED, replace)]):
        yield


def replaced_embeddings(
    model: HookedModel, ids: Sequence[int], vectors: Float[Tensor, "place d_model"]
) -> tuple[str, Callable[..., Tensor]]:
    """A hook that puts ``vectors`` in the place of some tokens' embeddings, wherever they stand."""
    keys = embedding_table(model)[torch.tensor(ids, device=model.cfg.device)].detach()

    def replace(activation: Float[Tensor, "row pos d_model"], hook: object) -> Tensor:
        for key, vector in zip(keys, vectors.to(activation), strict=True):
            here = (activation == key).all(dim=-1, keepdim=True)
            activation = torch.where(here, vector, activation)
        return activation

    return EMBED, replace


def unembed(
    model: HookedModel,
    resid: Float[Tensor, "row d_model"],
    ids: Int[Tensor, " token"] | None = None,
    norm: bool = True,
) -> Float[Tensor, "row token"]:
    """Logits of some tokens (default: all) read from a stream: ``W_U ln_final(x) + b_U``.

    Args:
        norm: Apply the final norm first (the usual logit lens); otherwise read the raw stream.
    """
    weight = model.unembed.original_component.weight
    bias = getattr(model.unembed.original_component, "bias", None)
    x = resid.to(weight.device)
    x = model.ln_final(x[None])[0] if norm else x
    if ids is not None:
        chosen = ids.to(weight.device)
        weight, bias = weight[chosen], None if bias is None else bias[chosen]
    logits = torch.nn.functional.linear(x.to(weight.dtype), weight, bias)
    return softcapped(model, logits).to(resid.device)


def softcapped(model: HookedModel, logits: Tensor) -> Tensor:
    """What follows the unembedding: Gemma 2 bounds its logits."""
    cap = getattr(model.original_model.config, "final_logit_softcapping", None)
    return logits if not cap else cap * torch.tanh(logits / cap)


def frozen_unembedding(
    model: HookedModel,
) -> Callable[[Float[Tensor, "row d_model"]], Float[Tensor, "row token"]]:
    """Logits from normed states by a copy of the unembedding as it is now, whatever is trained."""
    head = model.unembed.original_component
    weight = head.weight.detach().clone()
    bias = None if getattr(head, "bias", None) is None else head.bias.detach().clone()

    def logits(normed: Float[Tensor, "row d_model"]) -> Float[Tensor, "row token"]:
        return softcapped(model, torch.nn.functional.linear(normed.to(weight.dtype), weight, bias))

    return logits


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


def mlp_parameters(
    model: HookedModel, layer: int, which: Literal["down_proj", "mlp"]
) -> list[torch.nn.Parameter]:
    """The live parameters of one block's MLP, or of its output matrix alone."""
    mlp = model.blocks[layer].mlp
    part = mlp.out if which == "down_proj" else mlp
    return list(dict.fromkeys(part.parameters()))


LinearMap = Literal["q", "k", "v", "o", "gate", "in", "out"]
LINEAR_MAPS: tuple[LinearMap, ...] = get_args(LinearMap)
"""A block's weight matrices by TransformerLens' names; ``gate`` only where the MLP has one."""


def linear_maps(
    model: HookedModel, layer: int, names: Sequence[str] = LINEAR_MAPS
) -> dict[str, torch.nn.Module]:
    """Bridges of one block's live weight matrices; the matrix itself is ``.original_component``.

    Args:
        names: Which of them, out of ``LINEAR_MAPS``; those the block lacks are left out.
    """
    block = model.blocks[layer]
    parts = {name: block.attn if name in "qkvo" else block.mlp for name in names}
    return {n: getattr(part, n) for n, part in parts.items() if n in part._modules}


def live_parameters(model: HookedModel) -> list[torch.nn.Parameter]:
    """All parameters that the forward uses; GPT-2's fused ``qkv`` is a dead copy in the bridge."""
    dead = {
        id(p) for b in model.blocks if "qkv" in b.attn._modules for p in b.attn.qkv.parameters()
    }
    return [p for p in model.parameters() if id(p) not in dead]


def stream_weights(model: HookedModel) -> list[tuple[torch.nn.Parameter, int]]:
    """Every parameter that writes to the residual stream, and its axis of size ``d_model``.

    Raises:
        ValueError: If a norm stands between the weights and the stream (Gemma 2 and 3), so that no
            change of the weights alone is a change of what is written.
    """
    if "ln1_post" in model.blocks[0]._modules:
        name = type(model.original_model).__name__
        raise ValueError(
            f"{name} norms what its blocks write, so a direction cannot be taken out of the "
            "weights; use the hooked ablation (ablate_everywhere)"
        )
    tables = [model.embed] + ([model.pos_embed] if hasattr(model, "pos_embed") else [])
    found = [(table.original_component.weight, -1) for table in tables]
    for block in model.blocks:
        for write in (block.attn.o.original_component, block.mlp.out.original_component):
            # GPT-2's Conv1D holds [in, out], every Linear [out, in].
            found.append((write.weight, 0 if isinstance(write, torch.nn.Linear) else -1))
            if write.bias is not None:
                found.append((write.bias, -1))
    return found


def untie_(model: HookedModel) -> None:
    """Give the embedding a weight of its own where it shares the unembedding's."""
    embedding, unembedding = model.embed.original_component, model.unembed.original_component
    if embedding.weight is unembedding.weight:
        embedding.weight = torch.nn.Parameter(embedding.weight.detach().clone())
        embedding.weight.requires_grad_(False)
        model.original_model.config.tie_word_embeddings = False


Unit = Literal["neuron", "head"]
"""MLP neurons (columns of the output matrix's input), attention heads (their values' mixture)."""


def unit_name(layer: int, unit: Unit) -> str:
    """Hook point of a layer's neurons ``[batch, pos, neuron]`` or heads ``[batch, pos, head, d]``.

    A function on it that needs gradients has to return the activation: heads are seen as a view.
    """
    return f"blocks.{layer}." + ("mlp.hook_post" if unit == "neuron" else "attn.hook_z")


def replace_units(
    activation: Float[Tensor, "batch pos unit *d_head"],
    hook: object,
    units: Int[Tensor, " chosen"],
    values: Float[Tensor, "chosen *d_head"] | float = 0.0,
) -> Float[Tensor, "batch pos unit *d_head"]:
    """Set some neurons or heads to fixed values at every token (0: zero ablation); a new tensor."""
    changed = activation.clone()
    changed[:, :, units] = values.to(activation) if isinstance(values, Tensor) else values
    return changed
