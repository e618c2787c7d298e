"""A model's weights by what they do, and how they are changed for a while."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch

from mechunlearn.types import HookedModel

LinearMap = Literal["q", "k", "v", "o", "gate", "in", "out"]
LINEAR_MAPS: tuple[LinearMap, ...] = get_args(LinearMap)
"""A block's weight matrices by TransformerLens' names; ``gate`` only where the MLP has one."""


def mlp_parameters(
    model: HookedModel, layer: int, which: Literal["down_proj", "mlp"]
) -> list[torch.nn.Parameter]:
    """The live parameters of one block's MLP, or of its output matrix alone."""
    mlp = model.blocks[layer].mlp
    if which == "down_proj":
        refuse_unnamed(model, layer, mlp)
    part = mlp.out if which == "down_proj" else mlp
    return list(dict.fromkeys(part.parameters()))


def linear_maps(
    model: HookedModel, layer: int, names: Sequence[str] = LINEAR_MAPS
) -> dict[str, torch.nn.Module]:
    """Bridges of one block's live weight matrices; the matrix itself is ``.original_component``.

    Args:
        names: Which of them, out of ``LINEAR_MAPS``; those the block lacks are left out.

    Raises:
        ValueError: If a part of the block has weights that have none of these names, such as the
            experts of a mixture, so that a change of all named ones would leave most as they are.
    """
    block = model.blocks[layer]
    if any(n in "qkvo" for n in names):
        refuse_unnamed(model, layer, block.attn)
    if any(n not in "qkvo" for n in names):
        refuse_unnamed(model, layer, block.mlp)
    parts = {name: block.attn if name in "qkvo" else block.mlp for name in names}
    return {n: getattr(part, n) for n, part in parts.items() if n in part._modules}


def refuse_unnamed(model: HookedModel, layer: int, part: torch.nn.Module) -> None:
    """Make sure that every matrix of a block's attention or MLP has one of ``LINEAR_MAPS``' names.

    Raises:
        ValueError: Naming weights without one.
    """
    known = {id(p) for n in LINEAR_MAPS if n in part._modules for p in _weights(part, n)}
    fused = part._modules.get("qkv")  # GPT-2's dead copy.
    known |= set() if fused is None else {id(p) for p in fused.parameters()}
    unnamed = [(n, p) for n, p in part.named_parameters() if p.ndim > 1 and id(p) not in known]
    if {"gate", "in"} <= part._modules.keys():  # Phi-3's dead copy of both.
        both = sum(p.numel() for n in ("gate", "in") for p in _weights(part, n) if p.ndim > 1)
        unnamed = [(n, p) for n, p in unnamed if p.numel() != both]
    if unnamed:
        unnamed.sort(key=lambda pair: -pair[1].numel())
        share = sum(p.numel() for _, p in unnamed) / sum(p.numel() for p in part.parameters())
        name = unnamed[0][0].replace("_original_component.", "")
        raise ValueError(
            f"{type(model.original_model).__name__} is no plain transformer: {share:.0%} of the "
            f"weights of a part of block {layer} are in no map of queries, keys, values or of a "
            f"dense MLP, such as {name}{list(unnamed[0][1].shape)} (experts, compressed "
            "attention); what changes weights by these maps is refused for it"
        )


def _weights(part: torch.nn.Module, name: str) -> list[torch.nn.Parameter]:
    """Parameters of one linear map; none where the name stands for something else, a router."""
    inner = part.get_submodule(name)
    own = [p for p in inner.parameters() if p.ndim > 1]
    return list(inner.parameters()) if len(own) == 1 and _is_linear(inner) else []


def _is_linear(bridge: torch.nn.Module) -> bool:
    inner = bridge._modules.get("_original_component")
    while inner is not None and "base_layer" in inner._modules:
        inner = inner._modules["base_layer"]  # A low-rank adapter.
    return type(inner).__name__ in ("Linear", "Conv1D", "NonDynamicallyQuantizableLinear")


def live_parameters(model: HookedModel) -> list[torch.nn.Parameter]:
    """All parameters that the forward uses; GPT-2's fused ``qkv`` is a dead copy in the bridge."""
    fused = [b.attn.get_submodule("qkv") for b in model.blocks if "qkv" in b.attn._modules]
    dead = {id(p) for part in fused for p in part.parameters()}
    return [p for p in model.parameters() if id(p) not in dead]


def stream_weights(model: HookedModel) -> list[tuple[torch.nn.Parameter, int]]:
    """Every parameter that writes to the residual stream, and its axis of size ``d_model``.

    Raises:
        ValueError: If a norm stands between the weights and the stream (after the blocks' parts in
            Gemma 2 and 3, after the embedding in BLOOM), so that no change of the weights alone is
            a change of what is written.
    """
    if hasattr(model, "embed_ln"):
        raise ValueError(
            f"{type(model.original_model).__name__} norms its embeddings, so a direction cannot be "
            "taken out of the weights; use the hooked ablation (ablate_everywhere)"
        )
    if "ln1_post" in model.blocks[0]._modules:
        name = type(model.original_model).__name__
        raise ValueError(
            f"{name} norms what its blocks write, so a direction cannot be taken out of the "
            "weights; use the hooked ablation (ablate_everywhere)"
        )
    for i, block in enumerate(model.blocks):
        refuse_unnamed(model, i, block.attn)
        refuse_unnamed(model, i, block.mlp)
    tables = [model.embed] + ([model.pos_embed] if hasattr(model, "pos_embed") else [])
    weights = [(table.original_component.weight, -1) for table in tables]
    for block in model.blocks:
        for write in (block.attn.o.original_component, block.mlp.out.original_component):
            # GPT-2's Conv1D holds [in, out], every Linear [out, in].
            weights.append((write.weight, 0 if isinstance(write, torch.nn.Linear) else -1))
            if write.bias is not None:
                weights.append((write.bias, -1))
    return weights


def untie_(model: HookedModel) -> None:
    """Give the embedding a weight of its own where it shares the unembedding's."""
    embedding, unembedding = model.embed.original_component, model.unembed.original_component
    if embedding.weight is unembedding.weight:
        embedding.weight = torch.nn.Parameter(embedding.weight.detach().clone())
        embedding.weight.requires_grad_(False)
        model.original_model.config.tie_word_embeddings = False
